//! Descriptions and columns that fit, and those that do not.

use serde_json::{Value, json};

use super::*;

/// A target, its role, further columns with type and shape, the injections.
fn check(target: &str, role: &str, columns: &[(&str, &str)], injections: Value) -> String {
    let column = |name: &str, form: &str, role: &str| {
        let (dtype, shape) = form.split_once(' ').unwrap();
        let shape: Value = serde_json::from_str(&shape.replace('_', "null")).unwrap();
        json!({"name": name, "dtype": dtype, "shape": shape, "role": role})
    };
    let mut specs = vec![column("target", target, role)];
    specs.extend(
        columns
            .iter()
            .map(|(name, form)| column(name, form, "other")),
    );
    let specs: Vec<ColumnSpec> = serde_json::from_value(json!(specs)).unwrap();
    let description = json!({"target": "target", "injections": injections, "sample_prompts": []});
    match check_columns(&serde_json::from_value(description).unwrap(), &specs) {
        Ok(()) => "fine".to_owned(),
        Err(Mismatch { expected, found }) => format!("expected {expected}, found {found}"),
    }
}

/// A picture as the target.
fn picture(columns: &[(&str, &str)], injections: Value) -> String {
    check("f32 [3, 16, 24]", "image", columns, injections)
}

/// Six views, in two domains or one, as the target.
fn views(columns: &[(&str, &str)], injections: Value) -> String {
    check("f32 [6, 3, 16, 24]", "image", columns, injections)
}

fn text() -> Value {
    json!({"kind": "cross_attention", "column": "text", "dropout": 0})
}

#[test]
fn targets_are_images_rows_of_images_or_vectors() {
    let target = |form, role| check(form, role, &[], json!([]));
    assert_eq!(target("f32 [3, 16, 24]", "image"), "fine");
    assert_eq!(target("f32 [6, 3, 16, 24]", "image"), "fine");
    assert_eq!(target("f32 [2]", "vector"), "fine");
    for (form, role, found) in [
        ("u8 [3, 16, 24]", "image", "u8 [3, 16, 24] of role Image"),
        ("f32 [16, 24]", "image", "f32 [16, 24] of role Image"),
        (
            "f32 [_, 3, 16, 24]",
            "image",
            "f32 [_, 3, 16, 24] of role Image",
        ),
        (
            "f32 [0, 3, 16, 24]",
            "image",
            "f32 [0, 3, 16, 24] of role Image",
        ),
        ("f32 [2, 2]", "vector", "f32 [2, 2] of role Vector"),
        ("f32 [2]", "other", "f32 [2] of role Other"),
    ] {
        assert_eq!(
            target(form, role),
            format!(
                "expected target `target` as an image, f32 [channels, height, width] or [rows, channels, height, width], or \
                 as a vector, f32 [dimensions], found {found}"
            )
        );
    }
}

#[test]
fn a_column_that_is_not_there_or_is_the_target_is_refused() {
    assert_eq!(
        picture(&[("texts", "text []")], json!([text()])),
        "expected the cross_attention column `text`, found only `target`, `texts`"
    );
    let itself = json!([{"kind": "concat_channels", "column": "target", "dropout": 0}]);
    assert_eq!(
        picture(&[], itself),
        "expected a column beside the target for injection concat_channels, found the target `target`"
    );
    let other = TaskDescription {
        target: "nowhere".into(),
        injections: vec![],
        sample_prompts: vec![],
        dropout: 0.0,
    };
    let error = check_columns(&other, &[]).unwrap_err();
    assert_eq!(error.expected, "the target column `nowhere`");
}

/// Every kind of injection with the forms that it takes and some that it does not.
#[test]
fn columns_have_the_forms_of_their_injections() {
    let one = |kind: &str| json!([{"kind": kind, "column": "a", "dropout": 0}]);
    let class = json!([{"kind": "class_label", "column": "a", "classes": 3, "dropout": 0}]);
    let of_views = " or f32 [6, channels, 16, 24]";
    for (form, of_picture, of_rows) in [
        ("text []", true, true),
        ("f32 [768]", true, true),
        ("f32 [77, 768]", true, true),
        ("text [6]", false, true),
        ("f32 [6, 77, 768]", false, true),
        ("text [5]", false, false),
        ("f32 [5, 77, 768]", false, false),
        ("f32 []", false, false),
        ("f32 [0]", false, false),
        ("f32 [_, 768]", false, false),
        ("i64 [768]", false, false),
    ] {
        let a = [("a", form)];
        let expected = "text [] or f32 [features] or f32 [tokens, features]";
        let refused = |more| {
            format!("expected {expected}{more} in `a` for injection cross_attention, found {form}")
        };
        let said = |fine, more| if fine { "fine".into() } else { refused(more) };
        let more = " or text [6] or f32 [6, features] or f32 [6, tokens, features]";
        assert_eq!(picture(&a, one("cross_attention")), said(of_picture, ""));
        assert_eq!(views(&a, one("cross_attention")), said(of_rows, more));
    }
    for (form, of_picture, of_rows) in [
        ("f32 [4, 16, 24]", true, true),
        ("f32 [6, 4, 16, 24]", false, true),
        ("f32 [5, 4, 16, 24]", false, false),
        ("f32 [4, 8, 12]", false, false),
        ("f32 [_, 16, 24]", false, false),
        ("u8 [4, 16, 24]", false, false),
    ] {
        let a = [("a", form)];
        for kind in ["concat_channels", "feature_pyramid"] {
            let refused = |more| {
                format!(
                    "expected f32 [channels, 16, 24]{more} in `a` for injection {kind}, found {form}"
                )
            };
            let said = |fine, more| if fine { "fine".into() } else { refused(more) };
            assert_eq!(picture(&a, one(kind)), said(of_picture, ""));
            // The pyramid is made of one picture for all rows.
            match kind {
                "concat_channels" => assert_eq!(views(&a, one(kind)), said(of_rows, of_views)),
                _ => assert_eq!(views(&a, one(kind)), said(of_picture, "")),
            }
        }
    }
    assert_eq!(picture(&[("a", "i64 []")], class.clone()), "fine");
    for form in ["i64 [1]", "f32 []"] {
        assert_eq!(
            picture(&[("a", form)], class.clone()),
            format!("expected i64 [] in `a` for injection class_label, found {form}")
        );
    }
    assert_eq!(picture(&[("a", "f32 [7]")], one("camera_pose")), "fine");
    assert_eq!(views(&[("a", "f32 [6, 7]")], one("camera_pose")), "fine");
    assert_eq!(
        views(&[("a", "f32 [3, 7]")], one("camera_pose")),
        "expected f32 [numbers] or f32 [6, numbers] in `a` for injection camera_pose, found f32 [3, 7]"
    );
}

#[test]
fn pictures_need_a_target_that_is_one() {
    for kind in ["concat_channels", "feature_pyramid"] {
        let injection = json!([{"kind": kind, "column": "a", "dropout": 0}]);
        assert_eq!(
            check("f32 [2]", "vector", &[("a", "f32 [3, 8, 8]")], injection),
            format!("expected an image in target `target` for injection {kind}, found f32 [2]")
        );
    }
}

#[test]
fn boxes_phrases_and_mask_are_equally_many_and_need_text() {
    let grounding = json!({"kind": "grounding_tokens", "boxes": "b", "phrases": "p", "mask": "m", "dropout": 0});
    let said = |boxes, phrases, mask| {
        let columns = [
            ("b", boxes),
            ("p", phrases),
            ("m", mask),
            ("text", "text []"),
        ];
        picture(&columns, json!([grounding, text()]))
    };
    let right = ("f32 [30, 4]", "text [30]", "f32 [30]");
    assert_eq!(said(right.0, right.1, right.2), "fine");
    for (boxes, phrases, mask, expected) in [
        (
            "f32 [30, 5]",
            right.1,
            right.2,
            "f32 [most boxes, 4] in `b`",
        ),
        ("f32 [_, 4]", right.1, right.2, "f32 [most boxes, 4] in `b`"),
        (right.0, "text [29]", right.2, "text [30] in `p`"),
        (right.0, "text []", right.2, "text [30] in `p`"),
        (right.0, right.1, "f32 [31]", "f32 [30] in `m`"),
        (right.0, right.1, "u8 [30]", "f32 [30] in `m`"),
    ] {
        let found = said(boxes, phrases, mask);
        let expected = format!("expected {expected} for injection grounding_tokens, found ");
        assert!(found.starts_with(&expected), "{found}");
    }
    let columns = [("b", right.0), ("p", right.1), ("m", right.2)];
    assert_eq!(
        picture(&columns, json!([grounding])),
        "expected injection cross_attention of a text column beside grounding_tokens, found none"
    );
}

#[test]
fn learned_tokens_need_text() {
    let learned = json!({"kind": "learned_tokens", "tokens": ["<a>"], "initializer": "toy"});
    let with = |form| picture(&[("text", form)], json!([learned, text()]));
    assert_eq!(with("text []"), "fine");
    assert_eq!(
        with("f32 [768]"),
        "expected injection cross_attention of a text column beside learned_tokens, found none"
    );
}

#[test]
fn views_need_a_target_with_rows() {
    let multi_view =
        |domains: u64| json!({"kind": "multi_view", "attention": "dense", "domains": domains});
    let volume = json!({"kind": "view_volume", "projections": "a", "half_side": 1, "depth_range": [1, 2], "dropout": 0});
    assert_eq!(views(&[], json!([multi_view(2)])), "fine");
    assert_eq!(
        views(&[], json!([multi_view(4)])),
        "expected rows of 4 domains, a multiple of that number, in target `target` for injection multi_view, found f32 \
         [6, 3, 16, 24]"
    );
    assert_eq!(
        picture(&[], json!([multi_view(1)])),
        "expected [rows, channels, height, width] in target `target` for injection multi_view, found f32 [3, 16, 24]"
    );
    let (six, three) = ([("a", "f32 [6, 3, 4]")], [("a", "f32 [3, 3, 4]")]);
    assert_eq!(views(&six, json!([volume])), "fine");
    assert_eq!(views(&three, json!([volume, multi_view(2)])), "fine");
    assert_eq!(
        views(&six, json!([volume, multi_view(2)])),
        "expected f32 [3, 3, 4] in `a` for injection view_volume, found f32 [6, 3, 4]"
    );
    assert_eq!(
        picture(&six, json!([volume])),
        "expected [rows, channels, height, width] in target `target` for injection view_volume, found f32 [3, 16, 24]"
    );
}

#[test]
fn camera_regression_takes_one_number_for_each() {
    let regression =
        json!([{"kind": "camera_regression", "elevation": "e", "inverse_focal": "f", "weight": 1}]);
    let said = |elevation, focal| views(&[("e", elevation), ("f", focal)], regression.clone());
    assert_eq!(said("f32 []", "f32 []"), "fine");
    assert_eq!(
        said("f32 [6]", "f32 []"),
        "expected f32 [] in `e` for injection camera_regression, found f32 [6]"
    );
    assert_eq!(
        said("f32 []", "i64 []"),
        "expected f32 [] in `f` for injection camera_regression, found i64 []"
    );
}
