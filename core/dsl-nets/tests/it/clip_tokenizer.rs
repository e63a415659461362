//! CLIP's tokenizer against transformers', and learned embeddings.

use burn::tensor::{Device, Int, Tensor, TensorData};
use dsl_nets::{
    ClipTextModel, ClipTokenizer, EmbeddingStyle, LearnedEmbedding, NetsError, WeightDType,
    add_embedding,
};
use serde_json::Value;

use crate::fixture::{Fixture, values};

fn json(fixture: &Fixture, name: &str) -> Value {
    let text = std::fs::read_to_string(fixture.folder.join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn tokenizer(fixture: &Fixture) -> ClipTokenizer {
    ClipTokenizer::from_folder(&fixture.folder.join("tokenizer")).unwrap()
}

#[test]
fn clip_tokenizer_fixture_ids() {
    let fixture = Fixture::open("tokenizer");
    let tokenizer = tokenizer(&fixture);
    let bang = tokenizer.clone().with_pad_token("!").unwrap();
    let strings = json(&fixture, "strings.json");
    let rows = |key: &str| -> Vec<Vec<i64>> {
        let tensor = fixture.read(key);
        let rows = tensor.values.chunks(tensor.shape[1]);
        rows.map(|row| row.iter().map(|id| *id as i64).collect())
            .collect()
    };
    let (ids, masks) = (rows("out.input_ids"), rows("out.attention_mask"));
    let padded_by_bang = rows("out.input_ids_pad0");
    for (index, string) in strings.as_array().unwrap().iter().enumerate() {
        let text = string["text"].as_str().unwrap();
        let whole: Vec<i64> = serde_json::from_value(string["ids"].clone()).unwrap();
        assert_eq!(tokenizer.encode_whole(text).unwrap(), whole, "{text}");
        let tokens = tokenizer.encode(text).unwrap();
        assert_eq!(tokens.ids, ids[index], "{text}");
        assert_eq!(
            tokens.used as i64,
            masks[index].iter().sum::<i64>(),
            "{text}"
        );
        assert_eq!(tokens.dropped, whole.len().saturating_sub(77), "{text}");
        assert_eq!(
            bang.encode(text).unwrap().ids,
            padded_by_bang[index],
            "{text}"
        );
    }
}

#[test]
fn a_tokenizer_without_its_files_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = ClipTokenizer::from_folder(folder.path()).unwrap_err();
    assert!(matches!(error, NetsError::Io { .. }), "{error}");
    assert!(error.to_string().contains("vocab.json"), "{error}");
    std::fs::write(folder.path().join("vocab.json"), "{}").unwrap();
    let error = ClipTokenizer::from_folder(folder.path()).unwrap_err();
    assert!(error.to_string().contains("merges.txt"), "{error}");
    std::fs::write(folder.path().join("merges.txt"), "#version: 0.2\na b\n").unwrap();
    let error = ClipTokenizer::from_folder(folder.path()).unwrap_err();
    assert!(matches!(error, NetsError::Tokenizer { .. }), "{error}");
}

#[test]
fn textual_inversion_fixture() {
    for (kind, file) in [
        ("one", "learned_embeds.safetensors"),
        ("multi", "learned_embeds_multi.safetensors"),
    ] {
        let fixture = Fixture::open("textual_inversion");
        let device = Device::flex().autodiff();
        let prompts = json(&fixture, "prompts.json");
        let mut tokenizer = tokenizer(&fixture);
        let vocab = tokenizer.vocab_size();
        let embedding = LearnedEmbedding::read(&fixture.folder.join(file)).unwrap();
        let token = embedding.token.clone().unwrap();
        assert_eq!(Some(token.as_str()), prompts["token"].as_str());
        let encoder: ClipTextModel = fixture.load("text_encoder", &device);
        let encoder = add_embedding(&mut tokenizer, encoder, &token, &embedding.clip_l).unwrap();

        let mut ids = Vec::new();
        let texts = prompts["prompts"].as_array().unwrap();
        for (index, prompt) in texts.iter().enumerate() {
            let prompt = prompt.as_str().unwrap();
            let expanded = tokenizer.expand(prompt).unwrap();
            assert_eq!(
                Some(expanded.as_str()),
                prompts[kind]["expanded_prompts"][index].as_str()
            );
            ids.extend(tokenizer.encode(prompt).unwrap().ids);
        }
        let key = |name: &str| format!("out.{kind}.{name}");
        let expected: Vec<i64> = fixture
            .read(&key("input_ids"))
            .values
            .iter()
            .map(|id| *id as i64)
            .collect();
        assert_eq!(ids, expected, "{kind}");

        let data = TensorData::new(ids, [texts.len(), tokenizer.max_tokens()]);
        let output = encoder.forward(Tensor::<2, Int>::from_data(data, &device));
        let states = output.last_hidden_state;
        fixture.check("out", &key("last_hidden_state"), &values(states.clone()));
        fixture.check("out", &key("pooled"), &values(output.pooled));
        let target = fixture.tensor(&format!("in.{kind}.target"), &device);
        let loss = (states - target).powi_scalar(2).mean();
        fixture.check("loss", &format!("loss.{kind}"), &values(loss.clone()));
        let grads = loss.backward();
        let table = encoder.text_model.embeddings.token_embedding.weight.val();
        let rows = table.grad(&grads).unwrap();
        let rows = values(rows.narrow(0, vocab, embedding.vectors()));
        fixture.check("grad", &format!("grad.{kind}.placeholder_rows"), &rows);
    }
}

#[test]
fn embeddings_survive_every_kind_of_file_fixture() {
    let fixture = Fixture::open("textual_inversion");
    let read = |name: &str| LearnedEmbedding::read(&fixture.folder.join(name)).unwrap();
    let (one, sdxl) = (
        read("learned_embeds_multi.safetensors"),
        read("learned_embeds_sdxl.safetensors"),
    );
    assert_eq!(one.clip_l, sdxl.clip_l);
    assert_eq!(sdxl.clip_g.as_ref().unwrap().shape[0], sdxl.vectors());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("embedding.safetensors");
    for (style, embedding) in [
        (EmbeddingStyle::Diffusers, &one),
        (EmbeddingStyle::A1111, &one),
        (EmbeddingStyle::Sdxl, &sdxl),
    ] {
        embedding.write(&path, style, WeightDType::F32).unwrap();
        let again = LearnedEmbedding::read(&path).unwrap();
        assert_eq!(again.clip_l, embedding.clip_l);
        assert_eq!(again.clip_g, embedding.clip_g);
        let named = style == EmbeddingStyle::Diffusers;
        assert_eq!(again.token.is_some(), named);
    }
    assert!(
        one.write(&path, EmbeddingStyle::Sdxl, WeightDType::F32)
            .is_err()
    );
}

#[test]
fn embeddings_of_another_encoder_are_refused_fixture() {
    let fixture = Fixture::open("textual_inversion");
    let mut tokenizer = tokenizer(&fixture);
    let encoder: ClipTextModel = fixture.load("text_encoder", &Device::flex());
    let sdxl = LearnedEmbedding::read(&fixture.folder.join("learned_embeds_sdxl.safetensors"));
    let wide = sdxl.unwrap().clip_g.unwrap();
    let add = |tokenizer: &mut ClipTokenizer, token: &str| {
        add_embedding(tokenizer, encoder.clone(), token, &wide).unwrap_err()
    };
    let message = add(&mut tokenizer, "<thing>").to_string();
    assert!(message.contains("tokens have"), "{message}");
    let error = tokenizer.add_placeholder("<|endoftext|>", 1).unwrap_err();
    assert!(error.to_string().contains("already has"), "{error}");
}
