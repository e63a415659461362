//! Tokenizer and text encoder.

use burn::tensor::{Device, Int, Tensor, TensorData};
use dsl_nets::{ParameterInit, TextEncoder, TextEncoderConfig, Tokenizer};

use crate::fixture::values;

const CAPTIONS: [&str; 6] = [
    "red apple",
    "Green  Apple",
    "a smiling face with sunglasses",
    "a grinning face",
    "face with tears of joy",
    "red heart",
];

#[test]
fn training_does_not_depend_on_the_order_of_captions() {
    let forwards = Tokenizer::train_bpe(CAPTIONS, 320).unwrap();
    let backwards = Tokenizer::train_bpe(CAPTIONS.into_iter().rev(), 320).unwrap();
    assert_eq!(forwards.to_json().unwrap(), backwards.to_json().unwrap());
    assert!(forwards.vocab_size() > Tokenizer::MIN_VOCAB_SIZE && forwards.vocab_size() <= 320);
}

#[test]
fn a_tokenizer_survives_its_json() {
    let tokenizer = Tokenizer::train_bpe(CAPTIONS, 300).unwrap();
    let read = Tokenizer::from_json(&tokenizer.to_json().unwrap()).unwrap();
    assert_eq!(read.to_json().unwrap(), tokenizer.to_json().unwrap());
    for text in CAPTIONS.iter().chain(&["blue whale 🐋", ""]) {
        assert_eq!(
            read.encode(text, 16).unwrap().ids,
            tokenizer.encode(text, 16).unwrap().ids
        );
    }
}

#[test]
fn texts_have_start_end_and_padding() {
    let tokenizer = Tokenizer::train_bpe(CAPTIONS, 400).unwrap();
    let (start, end, pad) = (0, 1, tokenizer.pad_id());
    let ids = tokenizer.encode("red apple", 8).unwrap().ids;
    assert_eq!((ids.len(), ids[0]), (8, start));
    let last = ids.iter().position(|id| *id == end).unwrap();
    assert!(ids[last + 1..].iter().all(|id| *id == pad), "{ids:?}");
    assert_eq!(tokenizer.encode("", 4).unwrap().ids, [start, end, pad, pad]);

    let cut = tokenizer
        .encode("face with tears of joy and a very long rest", 5)
        .unwrap();
    assert!(cut.dropped > 0 && cut.used == 5 && cut.lost_words.is_empty());
    let cut = cut.ids;
    assert_eq!((cut.len(), cut[0], cut[4]), (5, start, end));
}

#[test]
fn case_white_space_and_composition_do_not_matter() {
    let tokenizer = Tokenizer::train_bpe(CAPTIONS, 400).unwrap();
    let check = |a: &str, b: &str| {
        assert_eq!(
            tokenizer.encode(a, 24).unwrap().ids,
            tokenizer.encode(b, 24).unwrap().ids
        )
    };
    check("red apple", "  RED\t apple\n");
    check("caf\u{e9}", "cafe\u{301}");
    // A special token written out is text like any other.
    assert!(!tokenizer.encode("<|pad|> red", 24).unwrap().ids[..3].contains(&tokenizer.pad_id()));
}

#[test]
fn bad_tokenizers_are_refused() {
    assert!(
        Tokenizer::train_bpe(CAPTIONS, 100)
            .unwrap_err()
            .to_string()
            .contains("at least 259")
    );
    assert!(Tokenizer::from_json("{}").is_err());
    let without_pad = Tokenizer::train_bpe(CAPTIONS, 300)
        .unwrap()
        .to_json()
        .unwrap()
        .replace("<|pad|>", "<|mad|>");
    assert!(
        Tokenizer::from_json(&without_pad)
            .unwrap_err()
            .to_string()
            .contains("<|pad|>")
    );
}

#[test]
fn every_token_sees_every_other() {
    let device = Device::flex();
    let config = TextEncoderConfig {
        vocab_size: 50,
        ..TextEncoderConfig::default()
    };
    let encoder = TextEncoder::new(&config, &ParameterInit::new(0, &device)).unwrap();
    let encode = |ids: [i64; 4]| {
        encoder.forward(Tensor::<2, Int>::from_data(
            TensorData::new(ids.to_vec(), [1, 4]),
            &device,
        ))
    };
    let (a, b) = (encode([1, 2, 3, 4]), encode([1, 2, 3, 5]));
    assert_eq!(a.dims(), [1, 4, config.hidden_size]);
    assert_ne!(values(a.narrow(1, 0, 1)), values(b.narrow(1, 0, 1)));
}
