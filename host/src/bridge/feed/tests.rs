//! Columns as a plugin sends them, and what the networks are to read.

use dsl_loader::MultiViewAttention;
use dsl_nets::Tokenizer;

use super::*;

/// Two samples everywhere.
const SAMPLES: usize = 2;
const TOKENS: usize = 6;

fn column(name: &str, data: HostColumnData) -> HostColumn {
    HostColumn {
        name: name.to_owned(),
        data,
    }
}

/// The numbers 1, 2, 3 … in this shape.
fn counted(name: &str, shape: &[u64]) -> HostColumn {
    let count = shape.iter().product::<u64>();
    let values = (1..=count).map(|i| i as f32).collect();
    let tensor = HostTensor::from_f32(shape, values).unwrap();
    column(name, HostColumnData::Tensor(tensor))
}

fn integers(name: &str, values: &[i64]) -> HostColumn {
    let tensor = HostTensor::from_i64(&[values.len() as u64], values.to_vec()).unwrap();
    column(name, HostColumnData::Tensor(tensor))
}

fn texts(name: &str, texts: &[&str]) -> HostColumn {
    let texts = texts.iter().map(|text| (*text).to_owned()).collect();
    column(name, HostColumnData::Text(texts))
}

fn told(injections: &[Injection], dropout: f64) -> TaskDescription {
    TaskDescription {
        target: "picture".to_owned(),
        injections: injections.to_vec(),
        sample_prompts: Vec::new(),
        dropout,
    }
}

fn feed(injections: &[Injection], rows: usize) -> Feed {
    let shape = TargetShape {
        rows,
        domains: 1,
        picture: [1, 2, 2],
    };
    Feed::new(&told(injections, 0.0), shape)
}

fn tokenizer() -> Tokenizer {
    Tokenizer::train_bpe(["a red cube", "a blue ball"], Tokenizer::MIN_VOCAB_SIZE).unwrap()
}

fn with_text(feed: Feed) -> Feed {
    feed.with_text(TextReader::Own {
        tokenizer: Arc::new(tokenizer()),
        max_tokens: TOKENS,
    })
}

/// The conditions of two samples, the second of which is dropped.
fn second_dropped(feed: &Feed, columns: Vec<HostColumn>) -> Result<Conditions> {
    let dropped = Dropped(vec![vec![false, true]; feed.injections().len()]);
    feed.conditions(&Columns::new(columns), SAMPLES, &dropped)
}

fn given(feed: &Feed, columns: Vec<HostColumn>) -> Result<Conditions> {
    feed.given(&Columns::new(columns), SAMPLES)
}

#[track_caller]
fn check(found: Option<&TensorData>, shape: &[usize], values: &[f32]) {
    let found = found.expect("the condition is there");
    assert_eq!(found.shape().to_vec(), shape);
    assert_eq!(found.iter::<f32>().collect::<Vec<_>>(), values);
}

#[track_caller]
fn check_refused(found: Result<Conditions>, parts: &[&str]) {
    let message = format!("{:#}", found.expect_err("it is refused"));
    for part in parts {
        assert!(message.contains(part), "`{part}` in: {message}");
    }
}

fn context(column: &str) -> Injection {
    Injection::CrossAttention {
        column: column.to_owned(),
        dropout: 0.1,
    }
}

fn class(classes: u64) -> Injection {
    Injection::ClassLabel {
        column: "class".to_owned(),
        classes,
        dropout: 0.1,
    }
}

fn concat() -> Injection {
    Injection::ConcatChannels {
        column: "low".to_owned(),
        dropout: 0.1,
    }
}

fn pyramid() -> Injection {
    Injection::FeaturePyramid {
        column: "low".to_owned(),
        dropout: 0.1,
    }
}

fn pose() -> Injection {
    Injection::CameraPose {
        column: "pose".to_owned(),
        dropout: 0.1,
    }
}

fn grounding() -> Injection {
    Injection::GroundingTokens {
        boxes: "boxes".to_owned(),
        phrases: "phrases".to_owned(),
        mask: "mask".to_owned(),
        dropout: 0.1,
    }
}

#[test]
fn the_target_is_a_row_for_each_view() {
    let feed = feed(&[], 3);
    let mut columns = Columns::new(vec![counted("picture", &[2, 3, 1, 2, 2])]);
    let x_0 = feed.x_0(&mut columns, SAMPLES, None).unwrap();
    let expected: Vec<f32> = (1..=24).map(|i| i as f32).collect();
    check(Some(&x_0), &[6, 1, 2, 2], &expected);
    // It was taken out.
    for columns in [columns, Columns::new(vec![texts("picture", &["a", "b"])])] {
        let mut columns = columns;
        let error = feed.x_0(&mut columns, SAMPLES, None).unwrap_err();
        assert!(error.to_string().contains("`picture`"), "{error}");
    }
}

#[test]
fn a_caption_is_repeated_over_rows_and_dropped_to_the_empty_text() {
    let feed = with_text(feed(&[context("caption")], 2));
    let columns = vec![texts("caption", &["a red cube", "a blue ball"])];
    let conditions = second_dropped(&feed, columns.clone()).unwrap();
    let ids = |texts: &[&str]| -> Vec<i64> {
        let encode = |text: &&str| tokenizer().encode(text, TOKENS).unwrap().ids;
        texts.iter().flat_map(encode).collect()
    };
    let found = conditions.token_ids.unwrap();
    assert_eq!(found.shape().to_vec(), [4, TOKENS]);
    let expected = ids(&["a red cube", "a red cube", "", ""]);
    assert_eq!(found.iter::<i64>().collect::<Vec<_>>(), expected);
    assert_ne!(ids(&["a red cube"]), ids(&[""]));

    let columns = Columns::new(columns);
    let kept = feed.given(&columns, SAMPLES).unwrap().token_ids.unwrap();
    let expected = ids(&["a red cube", "a red cube", "a blue ball", "a blue ball"]);
    assert_eq!(kept.iter::<i64>().collect::<Vec<_>>(), expected);
    let none = feed.unconditional(&columns, SAMPLES).unwrap();
    let found: Vec<i64> = none.token_ids.unwrap().iter::<i64>().collect();
    assert_eq!(found, ids(&[""; 4]));
}

#[test]
fn a_network_with_text_reads_the_empty_one_in_a_task_without() {
    let feed = with_text(feed(&[class(3)], 1));
    let conditions = given(&feed, vec![integers("class", &[0, 2])]).unwrap();
    let expected: Vec<i64> = tokenizer().encode("", TOKENS).unwrap().ids.repeat(2);
    let found = conditions.token_ids.unwrap();
    assert_eq!(found.iter::<i64>().collect::<Vec<_>>(), expected);
}

#[test]
fn context_is_vectors_or_tokens_of_samples_or_rows() {
    let one = feed(&[context("image")], 1);
    let two = feed(&[context("image")], 2);
    let of = |feed: &Feed, shape: &[u64]| {
        second_dropped(feed, vec![counted("image", shape)])
            .unwrap()
            .context
    };
    check(
        of(&one, &[2, 3]).as_ref(),
        &[2, 1, 3],
        &[1., 2., 3., 0., 0., 0.],
    );
    check(
        of(&one, &[2, 2, 2]).as_ref(),
        &[2, 2, 2],
        &[1., 2., 3., 4., 0., 0., 0., 0.],
    );
    check(
        of(&two, &[2, 3]).as_ref(),
        &[4, 1, 3],
        &[1., 2., 3., 1., 2., 3., 0., 0., 0., 0., 0., 0.],
    );
    // A vector that is as long as there are rows is a vector.
    check(
        of(&two, &[2, 2]).as_ref(),
        &[4, 1, 2],
        &[1., 2., 1., 2., 0., 0., 0., 0.],
    );
    // Each row has its own.
    check(
        of(&two, &[2, 2, 1, 2]).as_ref(),
        &[4, 1, 2],
        &[1., 2., 3., 4., 0., 0., 0., 0.],
    );
    check(
        of(&two, &[2, 2, 2]).as_ref(),
        &[4, 1, 2],
        &[1., 2., 3., 4., 0., 0., 0., 0.],
    );
    for shape in [&[2][..], &[2, 2, 1, 1, 1]] {
        let found = second_dropped(&two, vec![counted("image", shape)]);
        check_refused(found, &["`image`", "expected vectors or tokens"]);
    }
    let found = given(&one, vec![integers("image", &[1, 2])]);
    check_refused(found, &["`image`", "expected f32"]);
    check_refused(given(&one, Vec::new()), &["no column `image`"]);
}

#[test]
fn a_dropped_class_is_one_of_its_own() {
    let two = feed(&[class(3)], 2);
    let conditions = second_dropped(&two, vec![integers("class", &[1, 2])]).unwrap();
    let ids = conditions.class_ids.unwrap();
    assert_eq!(ids.shape().to_vec(), [4]);
    assert_eq!(ids.iter::<i64>().collect::<Vec<_>>(), [1, 1, 3, 3]);
    for (values, found) in [([0, 3], "the class 3"), ([-1, 0], "the class -1")] {
        let refused = given(&two, vec![integers("class", &values)]);
        check_refused(refused, &["`class`", found, "expected 0 to 2"]);
    }
    let floats = given(&two, vec![counted("class", &[2])]);
    check_refused(floats, &["`class`", "expected i64"]);
    let words = given(&two, vec![texts("class", &["a", "b"])]);
    check_refused(words, &["`class`", "holds text"]);
}

#[test]
fn pictures_are_repeated_over_rows_unless_each_has_its_own() {
    let of_sample = [1., 2., 3., 4.];
    let zeros = [0.; 4];
    for injection in [concat(), pyramid()] {
        let two = feed(std::slice::from_ref(&injection), 2);
        let of = |shape: &[u64]| {
            let columns = vec![counted("low", shape)];
            let found = second_dropped(&two, columns).unwrap();
            assert!(found.concat.is_none() || found.pyramid.is_none());
            found.concat.or(found.pyramid)
        };
        let expected = [of_sample, of_sample, zeros, zeros].concat();
        check(of(&[2, 1, 2, 2]).as_ref(), &[4, 1, 2, 2], &expected);
        let expected = [of_sample, [5., 6., 7., 8.], zeros, zeros].concat();
        check(of(&[2, 2, 1, 2, 2]).as_ref(), &[4, 1, 2, 2], &expected);
        // Without channels, and with other rows than the target's.
        for shape in [&[2, 4][..], &[2, 2, 2], &[2, 3, 1, 2, 2]] {
            let found = given(&two, vec![counted("low", shape)]);
            check_refused(found, &["`low`", "no picture's"]);
        }
    }
    let concatenated = given(&feed(&[concat()], 1), vec![counted("low", &[2, 1, 2, 2])]);
    assert!(concatenated.unwrap().concat.is_some());
}

fn boxes() -> Vec<HostColumn> {
    vec![
        counted("boxes", &[2, 3, 4]),
        texts("phrases", &["cube", "ball", "", "ball", "cube", "cube"]),
        counted("mask", &[2, 3]),
    ]
}

#[test]
fn phrases_are_encoded_once_each() {
    let feed = with_text(feed(&[grounding()], 2));
    let found = second_dropped(&feed, boxes()).unwrap().boxes.unwrap();
    let Phrases::TokenIds { token_ids, slots } = found.phrases else {
        panic!("the model reads them itself");
    };
    assert_eq!(token_ids.shape().to_vec(), [3, TOKENS]);
    let encode = |text| tokenizer().encode(text, TOKENS).unwrap().ids;
    let expected: Vec<i64> = ["cube", "ball", ""].into_iter().flat_map(encode).collect();
    assert_eq!(token_ids.iter::<i64>().collect::<Vec<_>>(), expected);
    assert_eq!(slots.shape().to_vec(), [4, 3]);
    assert_eq!(
        slots.iter::<i64>().collect::<Vec<_>>(),
        [0, 1, 2, 0, 1, 2, 1, 0, 0, 1, 0, 0]
    );
    // A dropped sample has no box: its slots are all empty, whatever stands in them.
    check(
        Some(&found.masks),
        &[4, 3],
        &[1., 2., 3., 1., 2., 3., 0., 0., 0., 0., 0., 0.],
    );
    assert_eq!(found.boxes.shape().to_vec(), [4, 3, 4]);
    let values: Vec<f32> = found.boxes.iter::<f32>().collect();
    assert_eq!(values[..12], values[12..24]);
    assert_eq!(values[24..36], values[36..]);
    assert_eq!([values[0], values[24]], [1.0, 13.0]);
}

#[test]
fn boxes_that_are_none_are_refused() {
    let feed_of = || feed(&[grounding()], 1);
    let reading = with_text(feed_of());
    check_refused(given(&feed_of(), boxes()), &["text encoder"]);
    let changed = |i: usize, column: HostColumn| {
        let mut columns = boxes();
        columns[i] = column;
        given(&reading, columns)
    };
    let five = changed(0, counted("boxes", &[2, 3, 5]));
    check_refused(five, &["`boxes`", "[2, 3, 5]", "four numbers"]);
    let numbers = changed(1, counted("phrases", &[2, 3]));
    check_refused(numbers, &["`phrases`", "expected text"]);
    let words = changed(2, texts("mask", &["a", "b"]));
    check_refused(words, &["`mask`", "expected f32"]);
}

#[test]
fn a_dropped_volume_keeps_its_cameras_and_is_not_used() {
    let injection = Injection::ViewVolume {
        projections: "cameras".to_owned(),
        half_side: 0.5,
        depth_range: [1.0, 2.0],
        dropout: 0.1,
    };
    let feed = feed(&[injection], 2);
    let cameras = counted("cameras", &[2, 2, 3, 4]);
    let volume = second_dropped(&feed, vec![cameras]).unwrap().volume;
    let volume = volume.unwrap();
    let expected: Vec<f32> = (1..=48).map(|i| i as f32).collect();
    check(Some(&volume.projections), &[2, 2, 3, 4], &expected);
    check(Some(&volume.kept), &[2], &[1.0, 0.0]);
}

#[test]
fn a_pose_is_of_a_sample_or_of_each_row() {
    let two = feed(&[pose()], 2);
    let of = |shape: &[u64]| second_dropped(&two, vec![counted("pose", shape)]);
    let one = of(&[2, 2]).unwrap().camera_pose;
    check(one.as_ref(), &[4, 2], &[1., 2., 1., 2., 0., 0., 0., 0.]);
    let each = of(&[2, 2, 2]).unwrap().camera_pose;
    check(each.as_ref(), &[4, 2], &[1., 2., 3., 4., 0., 0., 0., 0.]);
    for shape in [&[2][..], &[2, 3, 2], &[2, 2, 2, 2]] {
        check_refused(of(shape), &["`pose`", "expected a row of numbers"]);
    }
}

#[test]
fn the_camera_to_estimate_is_there_where_it_is_known() {
    let regression = Injection::CameraRegression {
        elevation: "elevation".to_owned(),
        inverse_focal: "focal".to_owned(),
        weight: 0.25,
    };
    let views = Injection::MultiView {
        attention: MultiViewAttention::Dense,
        domains: 1,
    };
    let feed = feed(&[views, regression], 2);
    let columns = vec![counted("elevation", &[2]), counted("focal", &[2])];
    // It is never dropped, and one of an object.
    let camera = second_dropped(&feed, columns.clone()).unwrap().camera;
    let camera = camera.unwrap();
    check(Some(&camera.elevation), &[2], &[1.0, 2.0]);
    check(Some(&camera.inverse_focal), &[2], &[1.0, 2.0]);
    assert_eq!(camera.weight, 0.25);
    let unknown = given(&feed, columns[..1].to_vec()).unwrap();
    assert!(unknown.camera.is_none() && unknown.is_empty());
}

#[test]
fn each_condition_is_dropped_by_itself_and_as_often_as_declared() {
    let mut kinds = [class(3), concat(), pose(), context("image")];
    let shares = [0.0, 0.3, 0.6, 1.0];
    for (injection, share) in kinds.iter_mut().zip(shares) {
        match injection {
            Injection::ClassLabel { dropout, .. }
            | Injection::ConcatChannels { dropout, .. }
            | Injection::CameraPose { dropout, .. }
            | Injection::CrossAttention { dropout, .. } => *dropout = share,
            _ => unreachable!(),
        }
    }
    let streams = Streams::new(3);
    let kinds = feed(&kinds, 1);
    let drawn = Dropped::draw(&kinds, &streams, 7, 2000);
    for (of, share) in drawn.0.iter().zip(shares) {
        let found = of.iter().filter(|dropped| **dropped).count() as f64 / 2000.0;
        assert!((found - share).abs() < 0.05, "{found}, not {share}");
    }
    // Poses are dropped as often where the picture is as where it is not.
    let both = (drawn.0[1].iter().zip(&drawn.0[2]))
        .filter(|(a, b)| **a && **b)
        .count();
    let both = both as f64 / 2000.0;
    assert!((both - 0.18).abs() < 0.04, "{both}");
    // A micro-batch has the draws of its samples; another step has others.
    let part = drawn.part(500..503);
    for (part, whole) in part.0.iter().zip(&drawn.0) {
        assert_eq!(part[..], whole[500..503]);
    }
    assert_ne!(Dropped::draw(&kinds, &streams, 8, 2000).0, drawn.0);
    assert_eq!(Dropped::draw(&kinds, &streams, 7, 2000).0, drawn.0);
}

#[test]
fn some_samples_lose_all_conditions_together() {
    let shape = TargetShape {
        rows: 1,
        domains: 1,
        picture: [1, 2, 2],
    };
    let feed = Feed::new(&told(&[class(3), concat(), pose()], 0.25), shape);
    let drawn = Dropped::draw(&feed, &Streams::new(3), 7, 2000);
    // By themselves one in a thousand would lose all three.
    let together = (0..2000)
        .filter(|i| drawn.0.iter().all(|of| of[*i]))
        .count();
    let share = together as f64 / 2000.0;
    assert!((share - 0.25).abs() < 0.04, "{share}");
}
