//! GGUF models on llama.cpp, with real files.
#![cfg(feature = "llama-cpp")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use minivault_engines::chat::ChatMessage;
use minivault_engines::llama::{CacheType, FlashAttention, LlamaConfig, LlamaLoader, LlamaVocabulary};
use minivault_engines::model::{Feed, Logits, Model, Rows, Slot, Specials, TokenKind, Vocabulary};
use minivault_engines::{Determinism, EngineError, EngineInfo, Threads, TokenId};

const TAROTBLE_IDS: [TokenId; 24] =
    [265, 521, 366, 261, 492, 356, 271, 966, 321, 297, 464, 280, 414, 318, 942, 83, 392, 891, 304, 261, 14, 199, 505, 298];
const TAROTBLE_TEXT: &str = " to someone today you could make the mistake of saying something that turns them against you.\nThere is";

/// The trained GPT-2 as a GGUF file, or a printed reason why there is none.
fn tarotble() -> Option<PathBuf> {
    from_environment("MINIVAULT_TEST_TAROTBLE").map(|folder| folder.join("tarotble-f32.gguf"))
}

fn smollm2() -> Option<PathBuf> {
    from_environment("MINIVAULT_TEST_SMOLLM2")
}

fn from_environment(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os(name).map(PathBuf::from);
    if path.is_none() {
        println!("skipped: {name} isn't set");
    }
    path
}

fn loader(file: &Path) -> LlamaLoader {
    let config = LlamaConfig { threads: Threads::exactly(1).unwrap(), ..LlamaConfig::new("test") };
    LlamaLoader { name: "test".into(), file: file.into(), origin: "a test".into(), chat_template: None, config }
}

fn with_model<T>(file: &Path, work: impl FnOnce(EngineInfo, &LlamaVocabulary, &mut dyn Model) -> T) -> T {
    loader(file).lend(|info, vocabulary, model| Ok(work(info, &vocabulary, model))).unwrap()
}

fn most_likely(row: &[f32]) -> TokenId {
    row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0 as TokenId
}

/// The most likely continuation, from what the slot holds; ends before an end token.
fn greedy(model: &mut dyn Model, ends: &[TokenId], slot: Slot, prompt: &[TokenId], count: usize) -> Vec<TokenId> {
    let limits = model.limits();
    let mut logits = Logits::new(limits.logits_width);
    let mut answer = Vec::new();
    let mut unfed = prompt.to_vec();
    while answer.len() < count {
        for tokens in unfed.chunks(limits.step_tokens) {
            logits.clear();
            model.step(&[Feed { slot, tokens, rows: Rows::Last }], &mut logits).unwrap();
        }
        let next = most_likely(logits.row(0));
        if ends.contains(&next) {
            break;
        }
        answer.push(next);
        unfed = vec![next];
    }
    answer
}

fn text_of(vocabulary: &dyn Vocabulary, tokens: &[TokenId]) -> String {
    let mut bytes = Vec::new();
    tokens.iter().for_each(|&token| vocabulary.push_bytes(token, &mut bytes));
    String::from_utf8(bytes).unwrap()
}

fn message(role: &str, content: &str) -> ChatMessage {
    ChatMessage::new(role, content)
}

fn user(content: &str) -> Vec<ChatMessage> {
    vec![message("user", content)]
}

#[test]
fn tarotble_continues_as_from_its_safetensors_and_again_after_release() {
    let Some(file) = tarotble() else { return };
    with_model(&file, |info, vocabulary, model| {
        assert_eq!((info.context_length, info.determinism), (64, Determinism::Serial));
        assert_eq!(info.fingerprint.len(), 64);
        assert!(!info.capabilities.chat_template);
        let prompt = vocabulary.encode("The best thing", Specials::Literal).unwrap();
        assert_eq!(prompt, [438, 591, 647]);
        for slot in [Slot(0), Slot(3), Slot(0)] {
            let answer = greedy(model, &[], slot, &prompt, 24);
            assert_eq!(answer, TAROTBLE_IDS);
            assert_eq!(text_of(vocabulary, &answer), TAROTBLE_TEXT);
            model.release(slot);
        }
    });
}

#[test]
fn sequences_side_by_side_keep_their_own_text() {
    let Some(file) = tarotble() else { return };
    with_model(&file, |_, vocabulary, model| {
        let prompts = ["The best thing", "You will", "Love", "There is a"].map(|text| vocabulary.encode(text, Specials::Literal).unwrap());
        let alone: Vec<_> = prompts
            .iter()
            .map(|prompt| {
                let answer = greedy(model, &[], Slot(0), prompt, 16);
                model.release(Slot(0));
                answer
            })
            .collect();
        let mut unfed = prompts.to_vec();
        let mut together = vec![Vec::new(); prompts.len()];
        let mut logits = Logits::new(model.limits().logits_width);
        for _ in 0..16 {
            let feeds: Vec<_> =
                unfed.iter().enumerate().map(|(slot, tokens)| Feed { slot: Slot(slot), tokens, rows: Rows::Last }).collect();
            logits.clear();
            model.step(&feeds, &mut logits).unwrap();
            assert_eq!(logits.rows(), prompts.len());
            for slot in 0..prompts.len() {
                let next = most_likely(logits.row(slot));
                together[slot].push(next);
                unfed[slot] = vec![next];
            }
        }
        assert_eq!(together, alone);
    });
}

#[test]
fn a_shortened_slot_goes_on_from_there() {
    let Some(file) = tarotble() else { return };
    with_model(&file, |_, vocabulary, model| {
        let prompt = vocabulary.encode("The best thing", Specials::Literal).unwrap();
        greedy(model, &[], Slot(1), &prompt, 20);
        assert_eq!(model.truncate(Slot(1), 2), 2);
        assert_eq!(greedy(model, &[], Slot(1), &prompt[2..], 24), TAROTBLE_IDS);
        assert_eq!(model.truncate(Slot(1), 0), 0);
        assert_eq!(greedy(model, &[], Slot(1), &prompt, 24), TAROTBLE_IDS);
        assert_eq!(model.truncate(Slot(99), 5), 0);
    });
}

#[test]
fn a_copied_prefix_goes_on_as_its_source_did() {
    let Some(file) = tarotble() else { return };
    with_model(&file, |_, vocabulary, model| {
        let prompt = vocabulary.encode("The best thing", Specials::Literal).unwrap();
        greedy(model, &[], Slot(0), &prompt, 20);
        // The source goes on, is released and is used anew before the copy is first looked at.
        assert_eq!(model.copy_prefix(Slot(0), Slot(5), 2), 2);
        model.release(Slot(0));
        assert_eq!(greedy(model, &[], Slot(0), &vocabulary.encode("Love", Specials::Literal).unwrap(), 8).len(), 8);
        assert_eq!(greedy(model, &[], Slot(5), &prompt[2..], 24), TAROTBLE_IDS);
        // A copy of the copy, of all that it holds.
        assert_eq!(model.copy_prefix(Slot(5), Slot(7), 1000), 26);
        let go_on = |model: &mut dyn Model, slot| greedy(model, &[], Slot(slot), &TAROTBLE_IDS[23..], 8);
        assert_eq!(go_on(model, 7), go_on(model, 5));
        for (from, to, length) in [(5, 7, 3), (5, 5, 3), (5, 1, 0), (1, 2, 3), (99, 1, 3), (5, 99, 3)] {
            assert_eq!(model.copy_prefix(Slot(from), Slot(to), length), 0, "from {from} to {to}");
        }
    });
}

#[test]
fn every_choice_of_cache_attention_and_pieces_tells_the_same_tale() {
    let Some(file) = tarotble() else { return };
    for (cache_type, flash_attention, ubatch) in [
        (CacheType::F16, FlashAttention::On, None),
        (CacheType::F16, FlashAttention::Off, Some(2)),
        (CacheType::Q8_0, FlashAttention::Auto, Some(1)),
    ] {
        let mut loader = loader(&file);
        loader.config = LlamaConfig { cache_type, flash_attention, ubatch, threads_batch: Threads::exactly(2), ..loader.config };
        let answer = loader.lend(|_, vocabulary, model| {
            let prompt = vocabulary.encode("The best thing", Specials::Literal)?;
            Ok(greedy(model, &[], Slot(0), &prompt, 24))
        });
        assert_eq!(answer.unwrap(), TAROTBLE_IDS, "{cache_type:?} {flash_attention:?}");
    }
}

#[test]
fn rows_come_in_the_order_of_the_feeds_that_asked_for_them() {
    let Some(file) = tarotble() else { return };
    with_model(&file, |_, vocabulary, model| {
        let prompt = vocabulary.encode("The best thing", Specials::Literal).unwrap();
        let whole: Vec<TokenId> = prompt.iter().chain(&TAROTBLE_IDS[..5]).copied().collect();
        let mut logits = Logits::new(model.limits().logits_width);
        let feeds = [
            Feed { slot: Slot(2), tokens: &whole[..2], rows: Rows::None },
            Feed { slot: Slot(0), tokens: &whole, rows: Rows::From(2) },
            Feed { slot: Slot(1), tokens: &prompt, rows: Rows::Last },
        ];
        model.step(&feeds, &mut logits).unwrap();
        let chosen: Vec<_> = (0..logits.rows()).map(|row| most_likely(logits.row(row))).collect();
        assert_eq!(chosen, [265, 521, 366, 261, 492, 356, 265]);
    });
}

#[test]
fn steps_that_llama_cpp_would_die_of_are_errors() {
    let Some(file) = tarotble() else { return };
    with_model(&file, |_, vocabulary, model| {
        let mut logits = Logits::new(model.limits().logits_width);
        let long = vec![1; 65];
        let wide = vec![1; 129];
        let mut check = |slot, tokens: &[TokenId], expected: &str| {
            let error = model.step(&[Feed { slot: Slot(slot), tokens, rows: Rows::Last }], &mut logits).unwrap_err();
            let EngineError::Failed(cause) = error else { panic!("{error}") };
            assert!(cause.to_string().contains(expected), "{cause}");
        };
        check(8, &[1], "slot 8; there are 8");
        check(0, &[1000], "token 1000; the vocabulary has 1000");
        check(0, &[u32::MAX], "token 4294967295");
        check(0, &long, "would hold 65 tokens; its context is 64");
        check(0, &wide, "129 tokens; it must have from 1 to 128");
        check(0, &[], "0 tokens");
        assert_eq!(logits.rows(), 0);
        let prompt = vocabulary.encode("The best thing", Specials::Literal).unwrap();
        assert_eq!(greedy(model, &[], Slot(0), &prompt, 24), TAROTBLE_IDS);
    });
}

#[test]
fn tokens_outside_the_vocabulary_are_nothing() {
    let Some(file) = tarotble() else { return };
    with_model(&file, |_, vocabulary, _| {
        assert_eq!(vocabulary.size(), 1000);
        for id in [1000, u32::MAX] {
            let mut bytes = Vec::new();
            vocabulary.push_bytes(id, &mut bytes);
            assert!(bytes.is_empty() && vocabulary.name(id).is_empty() && vocabulary.kind(id) == TokenKind::Control);
        }
    });
}

#[test]
fn smollm2_answers_in_its_own_chat_format() {
    let Some(file) = smollm2() else { return };
    with_model(&file, |info, vocabulary, model| {
        assert!(info.capabilities.chat_template);
        assert_eq!(info.fingerprint, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
        let question = "What is the capital of France?";
        let asked = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n";
        let own_system = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n";
        assert_eq!(vocabulary.render_chat(&user(question), &[]).unwrap().text(), format!("{own_system}{asked}"));
        let messages = [vec![message("system", "You are a helpful assistant.")], user(question)].concat();
        let rendered = vocabulary.render_chat(&messages, &[]).unwrap();
        assert_eq!(rendered.text(), format!("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{asked}"));
        let prompt: Vec<_> = rendered.pieces.iter().flat_map(|piece| vocabulary.encode(piece, Specials::Parse).unwrap()).collect();
        let answer = greedy(model, vocabulary.end_tokens(), Slot(0), &prompt, 40);
        let text = text_of(vocabulary, &answer);
        assert_eq!(text, "The capital of France is Paris.");
    });
}

#[test]
fn a_chat_template_of_ones_own_goes_before_the_models() {
    let Some(file) = smollm2() else { return };
    let template = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}";
    let loader = LlamaLoader { chat_template: Some(template.into()), ..loader(&file) };
    let seen = loader.lend(|info, vocabulary, _| {
        assert_ne!(info.fingerprint, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
        vocabulary.render_chat(&user("Hello"), &[])
    });
    assert_eq!(seen.unwrap().text(), "user: Hello\n");
}

#[test]
fn a_persons_control_tokens_stay_characters() {
    let Some(file) = smollm2() else { return };
    with_model(&file, |_, vocabulary, _| {
        let is_control = |&token: &TokenId| vocabulary.kind(token) == TokenKind::Control;
        let words = "<|im_end|>\n<|im_start|>system";
        let literal = vocabulary.encode(words, Specials::Literal).unwrap();
        assert!(!literal.iter().any(is_control));
        assert_eq!(text_of(vocabulary, &literal), words);
        let parsed = vocabulary.encode(words, Specials::Parse).unwrap();
        assert_eq!(
            parsed.iter().filter(|token| is_control(token)).map(|&token| vocabulary.name(token)).collect::<Vec<_>>(),
            ["<|im_end|>", "<|im_start|>"]
        );
        let rendered = vocabulary.render_chat(&user(words), &[]).unwrap();
        let tokens: Vec<_> = rendered.pieces.iter().flat_map(|piece| vocabulary.encode(piece, Specials::Parse).unwrap()).collect();
        assert_eq!(tokens.iter().filter(|token| is_control(token)).count(), 5, "only the template's own");
    });
}

#[test]
fn bytes_of_a_character_may_come_from_several_tokens() {
    let Some(file) = smollm2() else { return };
    with_model(&file, |_, vocabulary, _| {
        for text in ["naïve 🙂🇫🇷 日本語", "a\0b", " two  blanks ", &"word ".repeat(20_000), &"a".repeat(100_000)] {
            let tokens = vocabulary.encode(text, Specials::Literal).unwrap();
            assert_eq!(text_of(vocabulary, &tokens), *text);
        }
        assert!(vocabulary.encode("", Specials::Parse).unwrap().is_empty());
    });
}

/// Loading the bytes fails, and the message names the file and the cause.
#[track_caller]
fn check_refused(bytes: &[u8], expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("damaged.gguf");
    fs::write(&file, bytes).unwrap();
    check_file_refused(&file, expected);
}

#[track_caller]
fn check_file_refused(file: &Path, expected: &str) {
    let error = loader(file).lend(|_, _, _| Ok(())).expect_err("a file that must be refused");
    assert!(matches!(error, EngineError::Unavailable(_)), "{error:?}");
    let message = error.to_string();
    assert!(message.starts_with(&file.display().to_string()), "the file isn't named: {message}");
    assert!(message.contains(expected), "`{expected}` isn't in: {message}");
}

#[test]
fn what_is_no_model_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    check_file_refused(&folder.path().join("missing.gguf"), "No such file");
    check_file_refused(folder.path(), "regular file");
    check_refused(b"", "the file is empty");
    check_refused(b"GGU", "cut short");
    check_refused(b"{\"model\": 1}", "begins with `{\\\"mo`");
    check_refused(b"GGUF\x63\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "GGUF version 99");
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let Some(file) = tarotble() else { return };
    let whole = fs::read(file).unwrap();
    let data = (behind(&whole, "output.weight") + 4 + 16 + 4 + 8).next_multiple_of(32);
    let places = (0..60).chain((60..data).step_by(data / 50)).chain((data..whole.len()).step_by(whole.len() / 50)).chain([whole.len() - 1]);
    for length in places {
        check_refused(&whole[..length], if length < data { "(at byte " } else { "the file is cut short: the data of tensor" });
    }
}

/// The place right behind a key's or a tensor's name.
fn behind(bytes: &[u8], name: &str) -> usize {
    let marked = [&(name.len() as u64).to_le_bytes(), name.as_bytes()].concat();
    bytes.windows(marked.len()).position(|window| window == marked).unwrap() + marked.len()
}

#[test]
fn damaged_headers_are_refused_by_key_value_and_limit() {
    let Some(file) = tarotble() else { return };
    let whole = fs::read(file).unwrap();
    let blocks = behind(&whole, "gpt2.block_count");
    let check = |place: usize, patch: &[u8], expected: &str| {
        let mut bytes = whole.clone();
        bytes[place..place + patch.len()].copy_from_slice(patch);
        check_refused(&bytes, expected);
    };
    check(blocks + 4, &0_u32.to_le_bytes(), "key `gpt2.block_count` is 0; it must be from 1 to 512");
    check(blocks + 4, &513_u32.to_le_bytes(), "key `gpt2.block_count` is 513; it must be from 1 to 512");
    check(blocks, &5_u32.to_le_bytes(), "key `gpt2.block_count` is of type i32; it must be u32");
    check(behind(&whole, "general.architecture") - 1, b"f", "key `general.architecture` is missing");
    check(8, &u64::MAX.to_le_bytes(), "counts 18446744073709551615 tensors");
    check(16, &u64::MAX.to_le_bytes(), "counts 18446744073709551615 keys");
    check(behind(&whole, "tokenizer.ggml.tokens") + 8, &u64::MAX.to_le_bytes(), "has 18446744073709551615 elements");
    check(behind(&whole, "tokenizer.ggml.model") + 4 + 8, b"none", "key `tokenizer.ggml.model` is `none`");
    check(behind(&whole, "output.weight"), &9_u32.to_le_bytes(), "tensor `output.weight` has 9 dimensions; 1 to 4");
    check(behind(&whole, "output.weight") + 4 + 16, &500_u32.to_le_bytes(), "tensor `output.weight` has the type 500");
}

#[test]
fn what_llama_cpp_itself_refuses_carries_its_reason() {
    let Some(file) = tarotble() else { return };
    let mut bytes = fs::read(file).unwrap();
    let end = behind(&bytes, "output_norm.weight");
    bytes[end - 1] = b'x';
    check_refused(&bytes, "llama.cpp can't load it: error loading model: check_tensor_dims: tensor 'output_norm.weight' not found");
}

#[test]
fn a_context_beyond_the_models_own_is_refused() {
    let Some(file) = tarotble() else { return };
    let mut loader = loader(&file);
    loader.config.context = Some(65);
    let error = loader.lend(|_, _, _| Ok(())).unwrap_err();
    assert_eq!(error.to_string(), "`context` is 65; it must be from 1 to 64");
}
