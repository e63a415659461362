//! New words: their rows alone are trained, and texts without them do not change.

use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor};
use dsl_nets::parameters::train_only;
use dsl_nets::{
    ClipConfig, ClipTextModel, ClipTokenizer, Model, NetsError, ParameterInit, Tokenizer,
    WeightDType, WeightFile,
};

use crate::fixture::values;
use crate::init::small_config;
use crate::unet::gradients_by_key;

const CAPTIONS: [&str; 4] = [
    "red apple",
    "a grinning face",
    "a face in a red room",
    "red heart",
];

fn ids<const N: usize>(ids: [i32; N], device: &Device) -> Tensor<2, Int> {
    Tensor::<1, Int>::from_ints(ids, device).reshape([1, N])
}

fn encode(model: &Model, tokens: Tensor<2, Int>) -> Vec<f32> {
    values(model.encode_text(tokens).encoder_hidden_states.unwrap())
}

/// A table of 30 tokens; 30 and 31 are new.
fn with_words(device: &Device) -> (Model, Model) {
    let base = small_config().init(1, device).unwrap();
    let words = base.clone().with_learned_tokens(2, &[4, 6]).unwrap();
    (base, words)
}

#[test]
fn new_words_start_from_the_mean_of_known_ones() {
    let device = Device::flex();
    let (base, words) = with_words(&device);
    let table = &base
        .text_encoder
        .as_ref()
        .unwrap()
        .embeddings
        .token_embedding;
    let rows = values(table.weight.val());
    let mean: Vec<f32> = (0..12)
        .map(|i| (rows[4 * 12 + i] + rows[6 * 12 + i]) / 2.0)
        .collect();
    let learned = values(words.learned_tokens.as_ref().unwrap().weight.val());
    crate::fixture::assert_close("rows", &learned, &[mean.clone(), mean].concat(), 1e-6);

    let one = base.clone().with_learned_tokens(1, &[4]).unwrap();
    assert_eq!(
        encode(&one, ids([0, 30, 2], &device)),
        encode(&base, ids([0, 4, 2], &device))
    );
}

#[test]
fn texts_without_new_words_do_not_change() {
    let device = Device::flex();
    let (base, words) = with_words(&device);
    let plain = ids([0, 5, 29, 7, 1], &device);
    assert_eq!(encode(&words, plain.clone()), encode(&base, plain));
}

#[test]
fn the_rows_alone_receive_gradients() {
    let device = Device::flex().autodiff();
    let (_, words) = with_words(&device);
    let words = train_only(words, |parameter| parameter.path == "learned_tokens.weight");
    let features = words.encode_text(ids([0, 31, 5, 1], &device));
    let loss = features.encoder_hidden_states.unwrap().powi_scalar(3).sum();
    let grads = gradients_by_key(&words, &loss.backward());
    for (path, grad) in grads {
        assert_eq!(grad.is_empty(), path != "learned_tokens.weight", "{path}");
        if !grad.is_empty() {
            let rows: Vec<bool> = grad
                .chunks(12)
                .map(|row| row.iter().any(|g| *g != 0.0))
                .collect();
            assert_eq!(rows, [false, true]);
        }
    }
}

#[test]
fn new_words_survive_the_file_of_their_model() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let (base, words) = with_words(&device);
    words
        .save(&path, WeightDType::F32, &BTreeMap::new())
        .unwrap();
    let file = WeightFile::open(&path).unwrap();
    let other = base.clone().with_learned_tokens(2, &[9]).unwrap();
    let read = other.clone().load_complete(&file).unwrap();
    let tokens = ids([0, 30, 31, 1], &device);
    assert_eq!(
        encode(&read, tokens.clone()),
        encode(&words, tokens.clone())
    );

    // A base has no new words: they are the task's.
    base.save(&path, WeightDType::F32, &BTreeMap::new())
        .unwrap();
    let file = WeightFile::open(&path).unwrap();
    assert!(other.clone().load_complete(&file).is_err());
    let (read, extension) = other.clone().load_extending(&file).unwrap();
    assert_eq!(extension.fresh, ["learned_tokens.weight"]);
    assert_eq!(encode(&read, tokens.clone()), encode(&other, tokens));
    assert!(read.is_task_parameter("learned_tokens.weight"));
    assert_eq!(read.task_modules()[0].elements, 2 * 12);
}

#[test]
fn words_that_cannot_be_learned_are_refused() {
    let base = small_config().init(1, &Device::flex()).unwrap();
    for (count, initializer) in [(0, vec![1]), (1, vec![]), (1, vec![30])] {
        let result = base.clone().with_learned_tokens(count, &initializer);
        assert!(matches!(result, Err(NetsError::InvalidConfig { .. })));
    }
    let mut mute = base;
    mute.text_encoder = None;
    assert!(mute.with_learned_tokens(1, &[1]).is_err());
}

#[test]
fn written_words_become_one_id_each() {
    let plain = Tokenizer::train_bpe(CAPTIONS, 320).unwrap();
    let words = ["<chair>", "<chair>s", "<Dog>"].map(str::to_owned);
    let tokenizer = plain.with_added_tokens(&words, 500).unwrap();
    let ids = |text: &str| tokenizer.ids(text).unwrap();
    let known = |text: &str| plain.ids(text).unwrap();
    assert_eq!(ids("<chair>"), [500]);
    // The longest counts, and case does.
    assert_eq!(ids("<chair>s<chair><Dog>"), [501, 500, 502]);
    assert_eq!(ids("<dog>"), known("<dog>"));
    // What stands around a word is as it would be around any other word.
    let around = [
        known("red face"),
        vec![500],
        known("a in red")[1..].to_vec(),
    ]
    .concat();
    assert_eq!(known("a in red")[..1], known("a"));
    assert_eq!(ids("Red  face <chair> in\nred"), around);
    for text in CAPTIONS.iter().chain(&["", "  ", "snow < chair >"]) {
        assert_eq!(ids(text), known(text));
        assert_eq!(
            tokenizer.encode(text, 16).unwrap().ids,
            plain.encode(text, 16).unwrap().ids
        );
    }
    let (start, end, pad) = (0, 1, plain.pad_id());
    assert_eq!(
        tokenizer.encode(" <chair> ", 5).unwrap().ids,
        [start, 500, end, pad, pad]
    );
    assert_eq!(
        tokenizer.encode("<Dog><Dog><Dog>", 4).unwrap().ids,
        [start, 502, 502, end]
    );
    assert_eq!(
        (tokenizer.vocab_size(), tokenizer.added_tokens()),
        (plain.vocab_size(), 3)
    );
    assert_eq!(tokenizer.to_json().unwrap(), plain.to_json().unwrap());

    let refused = |words: &[&str], first| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        assert!(plain.with_added_tokens(&words, first).is_err(), "{words:?}");
    };
    refused(&[""], 500);
    refused(&[" <a>"], 500);
    refused(&["<a>", "<a>"], 500);
    refused(&["<a>"], plain.vocab_size() - 1);
}

#[test]
fn the_first_word_stands_for_all_that_belong_to_it() {
    let words = ["<b>", "<a>", "<a>_1", "<a>_2", "<c>_1"].map(str::to_owned);
    let own = Tokenizer::train_bpe(CAPTIONS, 320).unwrap();
    let own = own.with_added_tokens(&words, 700).unwrap();
    let folder = crate::fixture::root().join("pipeline_sd/pipeline/tokenizer");
    let clip = ClipTokenizer::from_folder(&folder).unwrap();
    let clip = clip.with_added_tokens(&words, 700).unwrap();
    for (text, expected) in [
        ("<a>", vec![701, 702, 703]),
        ("<a> <a>_1 <a>_2", vec![701, 702, 703]),
        ("<a><b><a>", vec![701, 702, 703, 700, 701, 702, 703]),
        ("<a>_2 <b> <c>_1", vec![703, 700, 704]),
    ] {
        let new = |ids: Vec<i64>| ids.into_iter().filter(|id| *id >= 700).collect::<Vec<_>>();
        assert_eq!(new(own.ids(text).unwrap()), expected, "{text}");
        assert_eq!(new(clip.encode_whole(text).unwrap()), expected, "{text}");
    }
}

#[test]
fn a_word_that_finds_no_room_is_named() {
    let words = ["<chair>", "<Dog>"].map(str::to_owned);
    let own = Tokenizer::train_bpe(CAPTIONS, 320).unwrap();
    let own = own.with_added_tokens(&words, 500).unwrap();
    let folder = crate::fixture::root().join("pipeline_sd/pipeline/tokenizer");
    let clip = ClipTokenizer::from_folder(&folder).unwrap();
    let max_tokens = clip.max_tokens();
    let plain = clip.encode("a red chair").unwrap();
    // The text encoder's table may have more rows than there are tokens.
    let clip = clip.with_added_tokens(&words, 700).unwrap();
    assert_eq!(clip.encode("a red chair").unwrap(), plain);
    assert_eq!(clip.encode_whole("<chair><dog>").unwrap()[1..3], [700, 701]);
    assert!(
        clip.with_added_tokens(&words[..1], 900).is_err(),
        "it has it"
    );
    assert!(clip.with_added_tokens(&["<new>".to_owned()], 3).is_err());

    let filler = "a ".repeat(max_tokens);
    let read = |text: &str| {
        let both = [
            own.encode(text, max_tokens).unwrap(),
            clip.encode(text).unwrap(),
        ];
        both.map(|tokens| {
            let whole = tokens.used + tokens.dropped;
            assert_eq!(tokens.ids.len(), max_tokens);
            assert_eq!(tokens.dropped > 0, whole > max_tokens);
            tokens.lost_words
        })
    };
    let none: [Vec<String>; 2] = Default::default();
    assert_eq!(read("a <chair>"), none);
    assert_eq!(read(&filler), none);
    assert_eq!(read(&format!("<chair> {filler} <chair>")), none);
    let lost = || vec!["<chair>".to_owned()];
    assert_eq!(read(&format!("<Dog> {filler} <chair>")), [lost(), lost()]);
}

/// In CLIP the end of a text is told by its id, of which a new word's is larger.
#[test]
fn clip_reads_new_words_and_pools_at_the_end_token() {
    let device = Device::flex();
    for eos_token_id in [2, 49] {
        let config = ClipConfig::from_transformers_json(&format!(
            r#"{{"architectures": ["CLIPTextModel"], "vocab_size": 50, "hidden_size": 8, "intermediate_size": 16,
                "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 6, "projection_dim": 8,
                "eos_token_id": {eos_token_id}, "bos_token_id": 48, "hidden_act": "quick_gelu"}}"#
        ))
        .unwrap();
        let clip = ClipTextModel::new(&config, &ParameterInit::new(0, &device)).unwrap();
        let learned = clip.learned_tokens(1, &[7]).unwrap();
        let known = clip.forward(ids([48, 7, 5, 49, 49], &device));
        let new = clip.forward_with(ids([48, 50, 5, 49, 49], &device), &learned);
        assert_eq!(
            values(new.last_hidden_state.clone()),
            values(known.last_hidden_state)
        );
        assert_eq!(values(new.pooled.clone()), values(known.pooled));
        let at_end = new.last_hidden_state.narrow(1, 3, 1);
        assert_eq!(values(new.pooled), values(at_end));
    }
}
