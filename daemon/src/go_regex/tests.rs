use proptest::prelude::*;

use super::*;

fn regex(text: &str) -> GoRegex {
    GoRegex::new(text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn means_what_go_means() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("^zrepl_.*", &["zrepl_", "zrepl_1"], &["azrepl_", "zrepl"]),
        ("zrepl_", &["zrepl_", "a_zrepl_1"], &["zrepl"]),
        ("_daily$", &["x_daily", "_daily"], &["_daily_"]),
        ("^a$", &["a"], &["aa", "", "a\n"]),
        ("^(a|b)_.*", &["a_", "b_1"], &["c_", "ab_"]),
        (r"\Qa.b\E+", &["a.b", "a.bbb"], &["a.", "axb"]),
        (r"^\Q^$[(\E$", &["^$[("], &["^"]),
        (r"\Qab", &["ab"], &["Qb"]),
        (r"[[a]", &["[", "a"], &["]"]),
        ("^[]a]$", &["]", "a"], &["[]a]"]),
        ("^[^]a]$", &["b"], &["]", "a"]),
        (r"^[a&&b]+$", &["a&b"], &["c", "-"]),
        (r"^[+--]$", &["+", ",", "-"], &["."]),
        (r"^[a~~b]+$", &["~ab"], &["-"]),
        (r"^[a-]+$", &["a-"], &["b"]),
        (r"^[-a]+$", &["a-"], &["b"]),
        (r"^[\-a\]]+$", &["a-]"], &["b", "\\"]),
        (r"\07\101", &["\x07A"], &["7A"]),
        (r"\x41\x{42}", &["AB"], &["x41"]),
        (r"a\z", &["ba"], &["ab"]),
        (r"\<a\>\_\-\/\@", &["<a>_-/@"], &["a"]),
        ("^a{,2}$", &["a{,2}"], &["a", "aa"]),
        ("^a{2}$", &["aa"], &["a", "aaa"]),
        ("^a{2,}$", &["aa", "aaaa"], &["a"]),
        ("^a{1,2}?$", &["a", "aa"], &["aaa"]),
        ("^x{01}$", &["x{01}"], &["x"]),
        ("^{$", &["{"], &["a"]),
        ("a}", &["a}"], &["a"]),
        (r"^\d+$", &["09"], &["a", "٣"]),
        (r"^\s$", &["\t", " ", "\x0C"], &["\x0B"]),
        (r"^\w\W$", &["a-"], &["ab"]),
        (r"^[\d_]+$", &["1_2"], &["a"]),
        (r"^[^\d]+$", &["ab"], &["a1"]),
        (r"^[\D1]+$", &["a1"], &["2"]),
        ("^[[:alpha:]]+$", &["aZ"], &["1"]),
        ("^[[:^alpha:]]+$", &["1-"], &["a"]),
        ("^[[:word:]-]+$", &["a_-1"], &["."]),
        ("^[[:]+$", &["[:"], &["a"]),
        ("(?i)abc", &["ABC", "xaBc"], &["ab"]),
        ("a(?i)b|c", &["aB", "C"], &["A", "AB"]),
        ("(?i:a)b", &["Ab"], &["AB"]),
        ("(?i)a(?-i)b", &["Ab"], &["AB"]),
        ("(?i)[a-c]$", &["B"], &["d"]),
        ("^a(?i)*$", &["", "aaa"], &["A"]),
        ("^(?m)b$", &["b"], &["a\nbc"]),
        ("(?m)^b$", &["b", "a\nb\nc"], &["ab"]),
        ("(?s)a.b", &["a\nb"], &["ab"]),
        ("a.b", &["axb"], &["a\nb"]),
        ("(?U)^a+$", &["aa"], &["b"]),
        ("(?P<n>a)(?<m>b)", &["ab"], &["a"]),
        ("()a", &["a"], &["b"]),
        ("(|a)+b", &["b", "aab"], &["a"]),
        ("^*a", &["a"], &["b"]),
        (r"\bday\b", &["a day", "day"], &["days", "a_day"]),
        (r"x\By", &["xy"], &["x y"]),
        (r"^\pN+$", &["12"], &["a"]),
        (r"^\p{^Lu}$", &["a"], &["A"]),
        (r"^[\p{Lu}0]$", &["A", "0"], &["a"]),
        ("ü", &["für"], &["fur"]),
        ("^[ü]$", &["ü"], &["u"]),
        ("", &["", "x"], &[]),
        ("a||b", &["", "c"], &[]),
        ("#a b", &["#a b"], &["ab"]),
    ];
    for (pattern, yes, no) in cases {
        let regex = regex(pattern);
        for name in *yes {
            assert!(regex.is_match(name), "{pattern} should match {name:?}");
        }
        for name in *no {
            assert!(!regex.is_match(name), "{pattern} should not match {name:?}");
        }
    }
}

#[test]
fn refuses_what_go_refuses_and_says_why() {
    let long = format!("{}a{}", "(".repeat(1001), ")".repeat(1001));
    let cases: &[(&str, &str)] = &[
        ("a**", "invalid nested repetition operator: `**`"),
        ("a*+", "invalid nested repetition operator: `*+`"),
        ("a*?*", "invalid nested repetition operator: `*?*`"),
        ("a+{2}", "invalid nested repetition operator: `+{2}`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a|*", "missing argument to repetition operator: `*`"),
        ("(+)", "missing argument to repetition operator: `+`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{2,1}", "invalid repeat count: `{2,1}`"),
        ("a{1,1001}", "invalid repeat count: `{1,1001}`"),
        ("a{99999999999999999999}", "invalid repeat count"),
        ("(a{100}){11}", "invalid repeat count: `{11}`"),
        ("((a{10}){10}|b){11,}", "invalid repeat count: `{11,}`"),
        ("(a", "missing closing ): `(a`"),
        ("a)", "unexpected ): `a)`"),
        ("[a", "missing closing ]: `[a`"),
        ("[]", "missing closing ]: `[]`"),
        ("[b-a]", "invalid character class range: `b-a`"),
        ("[a--]", "invalid character class range: `a--`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
        (r"\p{sc=Greek}", "invalid character class range"),
        (r"\p{", "invalid character class range"),
        (r"\", "trailing backslash"),
        (r"\1", r"invalid escape sequence: `\1`"),
        (r"\8", r"invalid escape sequence: `\8`"),
        (r"\q", r"invalid escape sequence: `\q`"),
        (r"\Z", r"invalid escape sequence: `\Z`"),
        (r"\ü", "invalid escape sequence"),
        (r"\xg1", "invalid escape sequence"),
        (r"\x{110000}", "invalid escape sequence"),
        (r"\C", "invalid escape sequence (single bytes"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?u)a", "invalid or unsupported Perl syntax: `(?u`"),
        ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("(?i", "invalid or unsupported Perl syntax"),
        ("(?P<a b>a)", "invalid named capture: `(?P<a b>`"),
        ("(?<=a)", "invalid named capture"),
        (&long, "expression nests too deeply"),
    ];
    for (text, expected) in cases {
        let error = GoRegex::new(text).expect_err(text).to_string();
        let start = format!("invalid regex {text:?}: error parsing regexp: ");
        assert!(error.starts_with(&start), "{error}");
        assert!(error.contains(expected), "{text}: {error}");
    }
    for text in [r"\p{NoSuchScript}", r"(?:\pL{500}){2}"] {
        let error = GoRegex::new(text).expect_err(text).to_string();
        assert!(!error.contains('\n'), "{error}");
    }
    assert!(GoRegex::new("(a{100}){10}").is_ok());
    assert!(GoRegex::new("(a{0}){1000}").is_ok());
    let deep = format!("{}a{}", "(?i)x|(".repeat(50), ")*y|z".repeat(50));
    assert!(regex(&deep).is_match("Z"));
}

#[test]
fn knows_what_matches_everything() {
    for text in [
        "", ".*", "^.*$", "^", "$", "^.*", ".*$", "(.*)", "^(?:.*)$", ".+", "^.+$", ".", ".*?",
        r"\A.*\z", ".*.*",
    ] {
        assert!(regex(text).matches_everything(), "{text}");
        assert!(regex(text).is_match("zrepl_1"), "{text}");
    }
    for text in [
        "^$",
        "$^",
        "a",
        "^zrepl_.*",
        "a|.*",
        "^.$",
        "..",
        ".{2}",
        "^a",
        "[^a]*",
    ] {
        assert!(!regex(text).matches_everything(), "{text}");
    }
}

#[test]
fn keeps_the_text_and_compares_it() {
    let written = regex("^a.*");
    assert_eq!(written.to_string(), "^a.*");
    assert_eq!(format!("{written:?}"), "GoRegex(\"^a.*\")");
    assert_eq!(written.to_string().parse(), Ok(written.clone()));
    assert_ne!(written, regex("^a"));
}

#[test]
fn what_configurations_are_full_of_is_not_compiled() {
    for text in [
        "",
        ".*",
        "^zrepl_",
        "^zrepl_.*",
        "^zrepl_.*$",
        "_daily$",
        "^manual_.*",
        "x",
        r"^a\.b",
    ] {
        assert!(matches!(regex(text).0.matcher, Matcher::Shape(_)), "{text}");
    }
}

proptest! {
    /// The shortcut answers as the automaton would.
    #[test]
    fn shapes_match_like_their_patterns(
        parts in proptest::collection::vec(
            prop::sample::select(vec!["^", "$", ".*", ".+", ".", "a", "b", "\n", "(a)", "(?:.*)"]), 0..6),
        names in proptest::collection::vec("[ab\n]{0,5}", 20),
    ) {
        let text = parts.concat();
        if let Ok(regex) = GoRegex::new(&text) {
            let pattern = translate::translate(&text).expect("compiled").pattern;
            let automaton = compile(&pattern, false, SIZE_LIMIT).expect("compiled");
            for name in names {
                prop_assert_eq!(regex.is_match(&name), automaton.is_match(name.as_bytes()), "{:?} {:?}", text, name);
                if regex.matches_everything() && !name.is_empty() && !name.contains('\n') {
                    prop_assert!(regex.is_match(&name), "{:?} {:?}", text, name);
                }
            }
        }
    }

    /// Whatever Go's grammar lets through, the crate compiles.
    #[test]
    fn never_panics_and_never_says_nothing(text in r"[\[\]\(\)\^\$\.\*\+\?\{\},0-9a-zQE\\|:<>&~-]{0,12}") {
        match GoRegex::new(&text) {
            Ok(regex) => { regex.is_match("zrepl_20240101"); }
            Err(error) => prop_assert!(error.problem.what.len() > 5),
        }
    }

    /// Escaped text matches itself, whatever it holds.
    #[test]
    fn quoted_text_is_literal(text in "[ -~]{1,10}") {
        prop_assume!(!text.contains(r"\E") && !text.ends_with('\\'));
        let regex = regex(&format!(r"^\Q{text}\E$"));
        prop_assert!(regex.is_match(&text));
        let other = format!("{text}x");
        prop_assert!(!regex.is_match(&other));
    }
}
