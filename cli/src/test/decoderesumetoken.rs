//! `zrepl test decoderesumetoken`: a resume token as JSON, in the form of zrepl 0.7.0, which had zfs(8) decode it. Here
//! neither ZFS nor a configuration is asked.

use std::io::Write;

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use zfs_safe::guid::Guid;
use zfs_safe::resume_token::ResumeToken;

/// Decodes and prints.
pub(crate) fn run(token: Option<&str>, out: &mut impl Write) -> anyhow::Result<()> {
    let Some(text) = token.filter(|text| !text.is_empty()) else {
        bail!("token argument must be specified");
    };
    // The words of zrepl 0.7.0 and of zfs(8), then what exactly is wrong.
    let token = ResumeToken::decode(text).context("resume token is corrupt")?;
    let mut json = Vec::new();
    let formatter = PrettyFormatter::with_indent(b" ");
    Contents::of(&token).serialize(&mut Serializer::with_formatter(&mut json, formatter))?;
    json.push(b'\n');
    out.write_all(&json)?;
    Ok(())
}

/// The fields of zrepl 0.7.0, in its order. Those whose name starts with `Has` tell whether the token has the field.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "an output format of zrepl 0.7.0"
)]
struct Contents<'a> {
    #[serde(rename = "HasFromGUID")]
    has_from_guid: bool,
    #[serde(rename = "HasToGUID")]
    has_to_guid: bool,
    #[serde(rename = "FromGUID")]
    from_guid: u64,
    #[serde(rename = "ToGUID")]
    to_guid: u64,
    to_name: &'a str,
    #[serde(rename = "HasCompressOK")]
    has_compress_ok: bool,
    #[serde(rename = "CompressOK")]
    compress_ok: bool,
    has_raw_ok: bool,
    #[serde(rename = "RawOK")]
    raw_ok: bool,
    #[serde(rename = "HasLargeBlockOK")]
    has_large_block_ok: bool,
    #[serde(rename = "LargeBlockOK")]
    large_block_ok: bool,
    has_embed_ok: bool,
    #[serde(rename = "EmbedOK")]
    embed_ok: bool,
    has_saved_ok: bool,
    saved_ok: bool,
}

impl<'a> Contents<'a> {
    /// Flags are in a token or not; ZFS writes none that is off.
    fn of(token: &'a ResumeToken) -> Self {
        Self {
            has_from_guid: token.from_guid.is_some(),
            has_to_guid: true,
            from_guid: token.from_guid.map_or(0, Guid::get),
            to_guid: token.to_guid.get(),
            to_name: &token.to_name,
            has_compress_ok: token.compress,
            compress_ok: token.compress,
            has_raw_ok: token.raw,
            raw_ok: token.raw,
            has_large_block_ok: token.large_block,
            large_block_ok: token.large_block,
            has_embed_ok: token.embed,
            embed_ok: token.embed,
            has_saved_ok: token.saved,
            saved_ok: token.saved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens of OpenZFS 2.3 with what zrepl 0.7.0 decoded them to: vectors/09-resume-tokens.
    const RECORDED: &str = include_str!("../../tests/data/resume-tokens.json");

    fn printed(token: Option<&str>) -> anyhow::Result<String> {
        let mut out = Vec::new();
        run(token, &mut out)?;
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn decodes_every_recorded_token_as_zrepl_0_7_0_does() {
        let recorded: Vec<serde_json::Value> = serde_json::from_str(RECORDED).expect("JSON");
        assert_eq!(recorded.len(), 15);
        for token in recorded {
            let text = printed(token["token"].as_str()).expect("valid");
            let decoded: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(decoded, token["decoded"], "{}", token["name"]);
        }
    }

    #[test]
    fn prints_what_zrepl_0_7_0_prints_to_the_byte() {
        let token = "1-8ee2d0770-b8-789c636064000310a500c4ec50360710e72765a52697303030419460caa7a515a796806444e0f26c48f249952\
                     5a9c5403a435c0cabfe92fcf4d2cc140686cd193be7fce2125dae8124cf0996cf4bcc4d6560282e4ad62f29704864400200e\
                     1751507";
        let expected = [
            "{",
            " \"HasFromGUID\": false,",
            " \"HasToGUID\": true,",
            " \"FromGUID\": 0,",
            " \"ToGUID\": 12039541250332387507,",
            " \"ToName\": \"src/tp@a\",",
            " \"HasCompressOK\": false,",
            " \"CompressOK\": false,",
            " \"HasRawOk\": false,",
            " \"RawOK\": false,",
            " \"HasLargeBlockOK\": false,",
            " \"LargeBlockOK\": false,",
            " \"HasEmbedOk\": false,",
            " \"EmbedOK\": false,",
            " \"HasSavedOk\": false,",
            " \"SavedOk\": false",
            "}",
            "",
        ];
        assert_eq!(printed(Some(token)).expect("valid"), expected.join("\n"));
    }

    #[test]
    fn no_token_and_a_bad_one_are_errors_in_the_words_of_zrepl() {
        for nothing in [None, Some("")] {
            assert_eq!(
                format!("{:#}", printed(nothing).expect_err("nothing to decode")),
                "token argument must be specified"
            );
        }
        assert_eq!(
            format!(
                "{:#}",
                printed(Some("1-abc-def-0123")).expect_err("garbage")
            ),
            "resume token is corrupt: resume token has checksum abc, which does not match its payload"
        );
    }
}
