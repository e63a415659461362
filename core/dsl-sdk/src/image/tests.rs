use super::*;

const WHITE: [u8; 3] = [255; 3];

/// A smooth picture: every codec keeps it well.
fn gradient(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        ::image::Rgb([
            (x * 255 / width.max(2)) as u8,
            (y * 255 / height.max(2)) as u8,
            90,
        ])
    })
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image
        .write_to(&mut bytes, format)
        .expect("the test's own picture is valid");
    bytes.into_inner()
}

fn formats() -> [(ImageFormat, Vec<u8>); 3] {
    let image = DynamicImage::from(gradient(48, 40));
    [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP]
        .map(|format| (format, encoded(&image, format)))
}

#[test]
fn the_three_formats_decode() {
    for (format, bytes) in formats() {
        let picture = Picture::decode(&bytes, "a", WHITE).unwrap();
        assert_eq!((picture.width(), picture.height()), (48, 40), "{format:?}");
        let worst = picture
            .rgb()
            .iter()
            .zip(gradient(48, 40).as_raw())
            .map(|(&a, &b)| a.abs_diff(b))
            .max();
        assert!(
            worst <= Some(if format == ImageFormat::Jpeg { 30 } else { 0 }),
            "{format:?}: {worst:?}"
        );
    }
}

#[test]
fn a_picture_cut_anywhere_is_an_error_that_names_it() {
    for (format, bytes) in formats() {
        for keep in [0, 1, 11, 40, bytes.len() / 2, bytes.len() - 20] {
            let error = Picture::decode(&bytes[..keep], "folder/cut.bin", WHITE).unwrap_err();
            assert!(
                error.message.contains("folder/cut.bin"),
                "{format:?} {keep}: {}",
                error.message
            );
        }
    }
}

#[test]
fn other_content_is_an_error() {
    for bytes in [
        b"hello, this is text".as_slice(),
        b"GIF89a\x01\x00\x01\x00\x00\x00\x00",
        b"\xff\xd8\xff\xd9",
    ] {
        assert!(Picture::decode(bytes, "x", WHITE).is_err());
    }
}

#[test]
fn transparency_shows_the_background() {
    let mut image = ::image::RgbaImage::new(2, 1);
    image.put_pixel(0, 0, ::image::Rgba([10, 20, 30, 0]));
    image.put_pixel(1, 0, ::image::Rgba([10, 20, 30, 255]));
    let bytes = encoded(&DynamicImage::from(image), ImageFormat::Png);
    let picture = Picture::decode(&bytes, "a", [1, 2, 3]).unwrap();
    assert_eq!(picture.rgb(), [1, 2, 3, 10, 20, 30]);
}

#[test]
fn grey_and_sixteen_bits_become_rgb() {
    let grey = ::image::ImageBuffer::from_pixel(3, 3, ::image::Luma([0x8080_u16]));
    let bytes = encoded(&DynamicImage::ImageLuma16(grey), ImageFormat::Png);
    assert_eq!(
        Picture::decode(&bytes, "a", WHITE).unwrap().rgb(),
        [0x80; 27]
    );
}

#[test]
fn every_resize_gives_its_size_whatever_the_shape() {
    for (width, height) in [(64, 64), (100, 30), (30, 100), (1, 1), (1, 500), (7, 3)] {
        let picture = Picture {
            pixels: gradient(width, height),
        };
        for resize in [Resize::CenterCrop, Resize::Stretch, Resize::Pad] {
            let fitted = picture.fit(32, resize, Filter::Lanczos, WHITE);
            assert_eq!(
                (fitted.width(), fitted.height()),
                (32, 32),
                "{resize:?} of {width} × {height}"
            );
        }
        let fitted = picture.fit(32, Resize::RandomCrop, Filter::Bicubic, WHITE);
        assert_eq!(fitted.width().min(fitted.height()), 32);
        assert!(fitted.width().max(fitted.height()) <= 32 * MAX_ASPECT);
    }
}

#[test]
fn padding_keeps_the_proportions_on_the_background() {
    let picture = Picture {
        pixels: RgbImage::from_pixel(40, 20, ::image::Rgb([9, 9, 9])),
    };
    let fitted = picture.fit(16, Resize::Pad, Filter::Bilinear, [200, 0, 0]);
    let row = |y: usize| &fitted.rgb()[y * 48..y * 48 + 3];
    assert_eq!(
        (row(0), row(3), row(4), row(11), row(12)),
        (
            &[200, 0, 0][..],
            &[200, 0, 0][..],
            &[9; 3][..],
            &[9; 3][..],
            &[200, 0, 0][..]
        )
    );
}

#[test]
fn a_fine_pattern_averages_instead_of_aliasing() {
    let board = RgbImage::from_fn(64, 64, |x, y| {
        ::image::Rgb([if (x + y) % 2 == 0 { 255 } else { 0 }; 3])
    });
    for filter in [Filter::Lanczos, Filter::Bicubic, Filter::Bilinear] {
        let small = Picture {
            pixels: board.clone(),
        }
        .resize(16, 16, filter);
        assert!(
            small.rgb().iter().all(|&byte| (118..=137).contains(&byte)),
            "{filter:?}"
        );
    }
}

#[test]
fn values_are_channels_first_in_minus_one_to_one_and_flip_mirrors() {
    let picture = Picture::from_rgb(2, 1, vec![0, 51, 255, 255, 51, 0]).unwrap();
    let window = Window {
        left: 0,
        top: 0,
        width: 2,
        height: 1,
    };
    let mut values = Vec::new();
    picture.append_chw(window, false, &mut values);
    assert_eq!(values, [-1.0, 1.0, -0.6, -0.6, 1.0, -1.0]);
    values.clear();
    picture.append_chw(window, true, &mut values);
    assert_eq!(values, [1.0, -1.0, -0.6, -0.6, -1.0, 1.0]);
}

#[test]
fn windows_reach_both_edges_and_never_leave_the_picture() {
    assert_eq!(Window::within(10, 8, 4, 8, 0.0, 0.9).left, 0);
    assert_eq!(
        Window::within(10, 8, 4, 8, 0.999_999, 0.9),
        Window {
            left: 6,
            top: 0,
            width: 4,
            height: 8
        }
    );
    assert_eq!(
        Window::within(10, 8, 4, 4, 0.5, 0.5),
        Window {
            left: 3,
            top: 2,
            width: 4,
            height: 4
        }
    );
    assert_eq!(
        Window::within(3, 3, 9, 9, 0.7, 0.7),
        Window {
            left: 0,
            top: 0,
            width: 3,
            height: 3
        }
    );
    assert!(Picture::from_rgb(0, 4, vec![]).is_none());
    assert!(Picture::from_rgb(1, 1, vec![0; 4]).is_none());
}

#[test]
fn names_of_pictures() {
    for name in ["a.png", "b.JPG", "c/d.jpeg", "x.y.webp"] {
        assert!(is_picture_name(name), "{name}");
    }
    for name in ["a.txt", "png", "._a.png", "d/.hidden.jpg", "a.gif"] {
        assert!(!is_picture_name(name), "{name}");
    }
}

#[test]
fn a_size_is_that_of_the_decoded_picture_and_needs_the_beginning_alone() {
    let image = DynamicImage::from(gradient(31, 17));
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
        let bytes = encoded(&image, format);
        assert_eq!(Picture::size(&bytes, "a").unwrap(), [31, 17], "{format:?}");
    }
    let large = encoded(&DynamicImage::from(gradient(400, 300)), ImageFormat::Png);
    assert_eq!(Picture::size(&large[..200], "a").unwrap(), [400, 300]);
    let large = encoded(&DynamicImage::from(gradient(400, 300)), ImageFormat::Jpeg);
    assert_eq!(Picture::size(&large[..1000], "a").unwrap(), [400, 300]);
    for bytes in [b"".as_slice(), b"hello, this is text", &large[..10]] {
        let error = Picture::size(bytes, "x.png").unwrap_err();
        assert!(error.message.contains("`x.png`"), "{}", error.message);
    }
}

#[test]
fn a_picture_covers_its_bucket_or_is_brought_into_it() {
    let placed = Placed {
        resized: [50, 32],
        bucket: [48, 32],
    };
    let picture = Picture {
        pixels: RgbImage::from_pixel(100, 64, ::image::Rgb([9, 9, 9])),
    };
    for (resize, size) in [
        (Resize::CenterCrop, (50, 32)),
        (Resize::RandomCrop, (50, 32)),
        (Resize::Stretch, (48, 32)),
        (Resize::Pad, (48, 32)),
    ] {
        let fitted = picture.fit_bucket(placed, resize, Filter::Bilinear, [200, 0, 0]);
        assert_eq!((fitted.width(), fitted.height()), size, "{resize:?}");
        // 48 × 31 pixels lie on the background.
        let last = &fitted.rgb()[fitted.rgb().len() - 3..];
        let expected = if resize == Resize::Pad {
            [200, 0, 0]
        } else {
            [9, 9, 9]
        };
        assert_eq!(last, expected, "{resize:?}");
    }
}
