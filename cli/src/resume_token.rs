//! `zrepl test decoderesumetoken`: a token in words.

use anyhow::Context;
use zfs_safe::resume_token::ResumeToken;

pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let token = ResumeToken::decode(text).context("cannot decode the resume token")?;
    print!("{}", describe(&token));
    Ok(())
}

fn describe(token: &ResumeToken) -> String {
    let flags: Vec<_> = [
        (token.raw, "raw"),
        (token.compress, "compressed"),
        (token.embed, "embedded"),
        (token.large_block, "large blocks"),
        (token.saved, "saved"),
    ]
    .into_iter()
    .filter_map(|(set, name)| set.then_some(name))
    .collect();
    let base = token.from_guid.map_or_else(
        || "none (full send)".to_owned(),
        |guid| format!("guid {guid}"),
    );
    let flags = if flags.is_empty() {
        "none".to_owned()
    } else {
        flags.join(", ")
    };
    format!(
        "snapshot:  {}\nguid:      {}\nbase:      {base}\nreceived:  {} bytes\nposition:  object {}, offset {}\nflags:     {flags}\n",
        token.to_name, token.to_guid, token.bytes, token.object, token.offset
    )
}
