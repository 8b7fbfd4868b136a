use super::*;

fn entries(node: &Node) -> Vec<(String, String, bool)> {
    let Kind::Mapping(entries) = &node.kind else {
        panic!("{node:?} is no mapping")
    };
    let text = |node: &Node| node.text().expect("a scalar").to_owned();
    entries
        .iter()
        .map(|e| (text(&e.key), text(&e.value), e.merged))
        .collect()
}

fn refused(text: &str) -> String {
    let error = parse(text).expect_err("not accepted");
    format!("{}:{} {}", error.at.line, error.at.column, error.message)
}

#[test]
fn positions_count_from_one_and_texts_stay_as_written() {
    let root = parse("a: 1.10\n  \nb:   'yes'\n").expect("YAML");
    let Kind::Mapping(list) = &root.kind else {
        panic!()
    };
    assert_eq!(list[0].value.at, Position { line: 1, column: 4 });
    assert_eq!(list[1].value.at, Position { line: 3, column: 6 });
    assert_eq!(list[0].value.plain(), Some("1.10"));
    assert_eq!(list[1].value.plain(), None);
    assert_eq!(list[1].value.text(), Some("yes"));
}

#[test]
fn only_the_first_document_counts() {
    assert_eq!(
        entries(&parse("a: 1\n---\n]: [ not yaml\n").expect("first document")).len(),
        1
    );
    for empty in ["", " \n", "---\n", "# nothing\n", "\u{feff}"] {
        assert!(parse(empty).expect("empty").is_empty(), "{empty:?}");
    }
}

#[test]
fn own_keys_come_before_merged_ones_and_are_marked() {
    let text = "x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\n";
    let root = parse(text).expect("YAML");
    let Kind::Mapping(list) = &root.kind else {
        panic!()
    };
    let row = |k: &str, v: &str, m| (k.to_owned(), v.to_owned(), m);
    assert_eq!(
        entries(&list[1].value),
        [
            row("b", "3", false),
            row("a", "1", true),
            row("b", "2", true)
        ]
    );
    assert!(refused("y:\n  <<: 3\n").starts_with("2:7 `<<` merges"));
}

#[test]
fn tabs_may_follow_colons() {
    let root = parse("a:\tb\nc:\t\"d:\te\"\n").expect("YAML");
    let row = |k: &str, v: &str| (k.to_owned(), v.to_owned(), false);
    assert_eq!(entries(&root), [row("a", "b"), row("c", "d:\te")]);
}

#[test]
fn hostile_texts_are_refused_in_bounded_memory() {
    let deep = "[".repeat(100_000);
    assert!(
        refused(&deep).contains("nested more than 64"),
        "{}",
        refused(&deep)
    );
    let deep = "{a: ".repeat(100_000);
    assert!(refused(&deep).contains("nested more than 64"));
    let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..=20 {
        let below = format!("*a{},", level - 1).repeat(10);
        let line = format!("a{level}: &a{level} [{below}]\n");
        laughs.push_str(&line);
    }
    assert!(refused(&laughs).contains("aliases written out"), "{laughs}");
    let mut merges = "a0: &a0 {a: 1, b: 2, c: 3, d: 4}\n".to_owned();
    for level in 1..=20 {
        let below = format!("<<: *a{}, ", level - 1).repeat(100);
        let line = format!("a{level}: &a{level} {{{below}}}\n");
        merges.push_str(&line);
    }
    assert!(refused(&merges).contains("values in one file"));
    assert!(refused("a: &a [*a]\n").contains("no anchor `&a` before"));
    assert!(refused(&"- x\n".repeat(MAX_NODES + 1)).contains("values in one file"));
    assert!(refused("a: *nobody\n").starts_with("1:"));
    assert!(refused("a: [1\n").contains("not YAML"));
    assert!(refused("\u{0}\u{1}\u{2}").contains("not YAML") || parse("\u{0}\u{1}").is_ok());
}

#[test]
fn merging_and_repeating_do_not_multiply_memory() {
    let entries: Vec<String> = (0..1000).map(|n| format!("k{n}: v")).collect();
    let merging = format!(
        "a: &a {{{}}}\nb:\n{}",
        entries.join(", "),
        "- {<<: *a}\n".repeat(1000)
    );
    assert!(refused(&merging).contains("values in one file"));
    let long = "x".repeat(100_000);
    let values = format!("a: &a {long}\nb: [{}]\n", "*a, ".repeat(1000));
    assert!(refused(&values).contains("aliases written out"));
    let keys = format!("? &a {long}\n: b\nc:\n{}", "- {*a : d}\n".repeat(1000));
    assert!(refused(&keys).contains("aliases written out"));
    assert!(parse(&"x".repeat(4 << 20)).is_ok());
}

#[test]
fn what_libyaml_lets_pass_is_accepted() {
    for text in [
        "a: {\n\t\"b\": c,\n\t}\n",
        "- a: {\n    \"b\" : \"c\",\n  }\n",
        "a: [\n  b,#comment\n  c\n]\n",
        "a: {\n\"b\": true,\n}\n",
        "a: {\"b\":true,c: d,}#comment\n",
        "%YAML 1.1\n---\na: b\n...\n",
        "a: b\r\nc: d\r\n",
        "a: |\n  b",
        "a: '^!x,'\nb: \"it's !x, \\\" !y,\"\n# !z,\n",
    ] {
        if let Err(error) = parse(text) {
            panic!("{text:?}: {error:?}");
        }
    }
}

#[test]
fn what_the_parser_cannot_cope_with_is_an_error() {
    assert!(refused("a:\n- {b: !c, d: e}\n").starts_with("2:7 a tag"));
    assert!(refused("[!!str,\n'!a,', !b ]").starts_with("1:2 a tag"));
    assert!(parse("|2 \n\n  s").is_ok());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[-\\[\\]{}:,&*!|>'\"%@`#?~<a \n\t]{0,80}") {
        let _ = parse(&text);
    }
}
