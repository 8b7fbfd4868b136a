use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> Vec<(String, String)> {
    let dsn: PostgresDsn = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(dsn.as_str(), text);
    dsn.parameters().clone().into_iter().collect()
}

#[test]
fn a_url_has_no_parameters_that_pairs_cannot_have() {
    for query in ["a+b=c", "=c", "a%3Db=c", "a%0ab=c", "&="] {
        let error = format!("postgres://h/d?{query}").parse::<PostgresDsn>();
        let expected = PostgresDsnError::Url(UrlProblem::Parameter);
        assert_eq!(error, Err(expected), "{query}");
    }
}

#[test]
fn many_parameters_are_read_quickly() {
    let pairs: Vec<String> = (0..50_000).map(|n| format!("{n}=x")).collect();
    let text = format!("postgres://h/?{}", pairs.join("&"));
    let (read, needed) = crate::cpu_time::of(|| parsed(&text));
    assert_eq!(read.len(), 50_001);
    assert!(needed.as_secs() < 5, "{needed:?}, though unoptimised");
}

#[test]
fn both_forms_give_parameters() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        (
            "host=localhost port=5432 user=postgres password=yourpasswordhere sslmode=disable",
            &[
                ("host", "localhost"),
                ("password", "yourpasswordhere"),
                ("port", "5432"),
                ("sslmode", "disable"),
                ("user", "postgres"),
            ],
        ),
        ("", &[]),
        (" \t\n", &[]),
        (
            "user =  me\tdbname\n= x ",
            &[("dbname", "x"), ("user", "me")],
        ),
        (
            r"password='it\'s a \\ b' user=a\ b",
            &[("password", r"it's a \ b"), ("user", "a b")],
        ),
        ("password=''user=x", &[("password", ""), ("user", "x")]),
        ("password=a'b=c", &[("password", "a'b=c")]),
        ("user=a user=b", &[("user", "b")]),
        ("user=", &[("user", "")]),
        ("database=x", &[("dbname", "x")]),
        ("database=x dbname=y", &[("dbname", "y")]),
        ("search_path=a,b", &[("search_path", "a,b")]),
        ("postgres://", &[]),
        ("postgresql:///", &[]),
        ("postgres://h", &[("host", "h")]),
        (
            "postgres://bob:se%2Fcr%40et@1.2.3.4:5432/my%20db?sslmode=verify-full&application_name=a+b",
            &[
                ("application_name", "a b"),
                ("dbname", "my db"),
                ("host", "1.2.3.4"),
                ("password", "se/cr@et"),
                ("port", "5432"),
                ("sslmode", "verify-full"),
                ("user", "bob"),
            ],
        ),
        (
            "postgres://u@[::1]:1/d",
            &[
                ("dbname", "d"),
                ("host", "::1"),
                ("port", "1"),
                ("user", "u"),
            ],
        ),
        (
            "postgresql:///d?host=/run/postgresql",
            &[("dbname", "d"), ("host", "/run/postgresql")],
        ),
        (
            "postgres://h/?host=other&host=third&x#frag",
            &[("host", "other")],
        ),
        ("host=a,b port=1,2", &[("host", "a,b"), ("port", "1,2")]),
        ("host=a,b port=1", &[("host", "a,b"), ("port", "1")]),
        ("client_encoding=UTF-8", &[("client_encoding", "UTF-8")]),
    ];
    for (text, expected) in cases {
        let expected: Vec<_> = expected
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        assert_eq!(parsed(text), expected, "{text}");
    }
}

#[test]
fn what_is_malformed_is_refused() {
    let cases = [
        (
            "host",
            "missing \"=\" after the word at character 1 in connection info string",
        ),
        (
            "user=x password=a b",
            "missing \"=\" after the word at character 19",
        ),
        ("=x", "missing parameter name before \"=\" at character 1"),
        ("password='x", "unterminated quoted string literal"),
        (r"password='x\", "unterminated quoted string literal"),
        (r"password=x\", "missing character after backslash"),
        ("mysql://h", "missing \"=\" after the word at character 1"),
        (
            "sslmode=prefer",
            "wrong value for \"sslmode\": \"prefer\" is not supported; supported values are disable",
        ),
        ("port=70000", "wrong value for \"port\""),
        ("port=", "wrong value for \"port\""),
        ("port=+1", "wrong value for \"port\""),
        ("connect_timeout=10s", "wrong value for \"connect_timeout\""),
        ("hostaddr=localhost", "wrong value for \"hostaddr\""),
        (
            "sslinline=maybe",
            "wrong value for \"sslinline\": \"maybe\" is not supported; it must be true or false",
        ),
        ("client_encoding=latin1", "it must be absent or \"UTF8\""),
        ("datestyle=german", "it must be absent or \"ISO, MDY\""),
        (
            "host=a,b,c port=1,2",
            "wrong value for \"port\": 2 of them do not fit to 3 hosts",
        ),
        (
            "host=a hostaddr=::1,::2",
            "wrong value for \"hostaddr\": 2 of them do not fit to 1 hosts",
        ),
        ("postgres://u:p@h:x/", "invalid URL: its host and port"),
        ("postgres://a:1,b:2/", "invalid URL: its host and port"),
        ("postgres://h:99999/", "invalid URL: its host and port"),
        (
            "postgres://u:p w@h/",
            "invalid URL: its user name or password",
        ),
        (
            "postgres://u:p%@h/",
            "invalid URL: its password has an invalid escape",
        ),
        (
            "postgres://h/%ff",
            "invalid URL: its database name has an invalid escape",
        ),
        (
            "postgres://h/?a=%",
            "invalid URL: its query has an invalid escape",
        ),
        (
            "postgres://h\n/",
            "invalid URL: it contains a control character",
        ),
    ];
    for (text, expected) in cases {
        let error = text.parse::<PostgresDsn>().expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn what_is_shown_has_no_secrets() {
    let cases = [
        ("user=me password=hunter2", "password=*** user=me"),
        ("postgres://me:hunter2@h/", "host=h password=*** user=me"),
        ("postgres://h/?password=hunter2", "host=h password=***"),
        ("sslkey=hunter2 sslinline=true", "sslinline=true sslkey=***"),
        ("sslkey=/etc/key", "sslkey=/etc/key"),
        (
            "sslpassword=hunter2 options='-c x' user=''",
            "options='-c x' sslpassword=*** user=''",
        ),
        (r"user=a\'b\\", r"user='a\'b\\'"),
    ];
    for (text, expected) in cases {
        let dsn: PostgresDsn = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(dsn.to_string(), expected);
        assert_eq!(format!("{dsn:?}"), format!("PostgresDsn({expected})"));
    }
    for text in [
        "user=me password=x hunter2",
        "password='hunter2",
        "postgres://me:hunter2/x@h",
        "postgres://me:x#hunter2@h",
        "postgres://me:hunter2%@h",
        "postgres://me:hunter2<@h",
    ] {
        let error = text.parse::<PostgresDsn>().expect_err(text);
        assert!(
            !format!("{error} {error:?}").contains("hunter2"),
            "{error:?}"
        );
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in r"(postgres://)?[a-c='\\ @:/?&%\[\]0-9]{0,30}") {
        let _ = text.parse::<PostgresDsn>();
    }

    /// Without secrets, what is shown says the same.
    #[test]
    fn what_is_shown_is_read_back(pairs in proptest::collection::btree_map("x[a-z]{1,5}", r"[ -~]{0,8}", 0..4)) {
        let parameters: Vec<_> = pairs.iter().map(|(k, v)| {
            format!("{k}='{}'", v.replace('\\', r"\\").replace('\'', r"\'"))
        }).collect();
        let dsn: PostgresDsn = parameters.join(" ").parse().expect("quoted");
        prop_assert_eq!(dsn.parameters(), &pairs);
        let shown: PostgresDsn = dsn.to_string().parse().expect("shown");
        prop_assert_eq!(shown.parameters(), &pairs);
    }
}
