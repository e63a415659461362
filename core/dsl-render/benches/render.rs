//! Views of the furniture inside: one view at several sizes, and all the views of a training sample.
//!
//! `cargo bench -p dsl-render --features furniture`. The mesh has about 2,400 triangles.

use divan::Bencher;
use dsl_render::protocol::syncdreamer;
use dsl_render::{Mesh, Normalization, RenderOptions, furniture, render};

fn main() {
    divan::main();
}

fn mesh() -> Mesh {
    let objects = furniture::splits().train;
    let mut meshes = (objects.iter()).map(|object| {
        object
            .mesh(Normalization::MaxSide)
            .expect("it is part of the program")
    });
    meshes
        .find(|mesh| (2300..2500).contains(&mesh.faces.len()))
        .expect("most of them are")
}

#[divan::bench(args = [1, 2, 3, 4])]
fn view_64(bencher: Bencher, supersampling: u32) {
    views(bencher, 64, supersampling, 1);
}

#[divan::bench(args = [32, 64, 128, 256])]
fn view_by_size(bencher: Bencher, size: u32) {
    views(bencher, size, 3, 1);
}

#[divan::bench(args = [32, 64, 256])]
fn sixteen_views(bencher: Bencher, size: u32) {
    views(bencher, size, 3, syncdreamer::VIEWS);
}

#[divan::bench]
fn read_and_normalize() -> Mesh {
    mesh()
}

fn views(bencher: Bencher, size: u32, supersampling: u32, count: u32) {
    let mesh = mesh();
    let options = RenderOptions {
        size,
        supersampling,
        ..RenderOptions::default()
    };
    bencher.bench_local(|| {
        for view in 0..count {
            let camera = syncdreamer::camera(syncdreamer::azimuth(view, 16), 30.0)
                .expect("a camera of the protocol");
            let view = render(&mesh, &camera, &options).expect("a size that can be");
            divan::black_box(view.over([1.0; 3]));
        }
    });
}
