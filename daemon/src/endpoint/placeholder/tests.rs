use proptest::prelude::*;

use super::*;
use crate::name::ClientIdentity;

fn path(name: &str) -> DatasetPath {
    DatasetPath::new(name).expect(name)
}

fn existing(names: &[&str]) -> BTreeSet<DatasetPath> {
    names.iter().copied().map(path).collect()
}

fn sink() -> ReceiveRoot {
    let client = ClientIdentity::new("client1").expect("valid");
    ReceiveRoot::of_client(path("dst/sink"), &client).expect("fits")
}

fn plan(
    root: &ReceiveRoot,
    target: &str,
    names: &[&str],
    encryption: PlaceholderEncryption,
) -> Result<Vec<(String, Encryption)>, String> {
    let plan = missing_parents(root, &path(target), &existing(names), encryption);
    let shown = |made: Creation| (made.dataset.as_str().to_owned(), made.encryption);
    plan.map(|plan| plan.into_iter().map(shown).collect())
        .map_err(|error| error.to_string())
}

#[test]
fn only_a_local_value_counts() {
    let property = |value: &str, source| Property {
        name: PROPERTY.parse().expect("valid"),
        value: value.to_owned(),
        source,
    };
    // As in 01-push-full: what was received inherits from its parents.
    let inherited = Source::Inherited("dst/sink/client1/src/p".to_owned());
    assert_eq!(local_value(&[property(ON, inherited)]), "");
    assert_eq!(local_value(&[property(ON, Source::Received)]), "");
    assert_eq!(local_value(&[property(ON, Source::Local)]), ON);
    assert_eq!(local_value(&[]), "");
    let other = Property {
        name: "zrepl:other".parse().expect("valid"),
        value: ON.to_owned(),
        source: Source::Local,
    };
    assert_eq!(local_value(&[other]), "");
}

#[test]
fn on_and_the_hashed_name_make_a_placeholder() {
    // The example of FIPS 180-4 for SHA-512/256.
    let hashed = "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23";
    let upper = hashed.to_uppercase();
    for (dataset, value, expected) in [
        ("abc", ON, true),
        ("abc", hashed, true),
        ("abd", hashed, false),
        ("abc", upper.as_str(), false),
        ("abc", OFF, false),
        ("abc", "ON", false),
        ("abc", "", false),
    ] {
        assert_eq!(
            is_placeholder(dataset, value),
            expected,
            "{dataset} {value:?}"
        );
    }
}

#[test]
fn parents_are_made_from_the_top_down_as_recorded() {
    // 01-push-full: three placeholders, then src/p/a is received.
    let made = plan(
        &sink(),
        "dst/sink/client1/src/p/a",
        &["dst", "dst/sink", "dst/pull"],
        PlaceholderEncryption::Inherit,
    );
    let inherit = |name: &str| (name.to_owned(), Encryption::Inherit);
    assert_eq!(
        made,
        Ok(vec![
            inherit("dst/sink/client1"),
            inherit("dst/sink/client1/src"),
            inherit("dst/sink/client1/src/p"),
        ])
    );
}

#[test]
fn encryption_is_as_configured_and_only_the_root_of_the_client_needs_no_word() {
    use PlaceholderEncryption::{Off, Unspecified};
    let sink = sink();
    let base = ["dst", "dst/sink"];
    let off = |name: &str| (name.to_owned(), Encryption::Off);
    let client_root = "dst/sink/client1";
    assert_eq!(
        plan(&sink, "dst/sink/client1/a/b", &base, Off),
        Ok(vec![off(client_root), off("dst/sink/client1/a")])
    );
    assert_eq!(
        plan(&sink, "dst/sink/client1/a", &base, Unspecified),
        Ok(vec![(client_root.to_owned(), Encryption::Inherit)])
    );
    let error = "cannot create placeholder filesystem dst/sink/client1/a: placeholder filesystem encryption handling is \
                 unspecified in receiver config";
    for names in [&base[..], &["dst", "dst/sink", client_root]] {
        assert_eq!(
            plan(&sink, "dst/sink/client1/a/b", names, Unspecified),
            Err(error.to_owned())
        );
    }
    let all = ["dst", "dst/sink", client_root, "dst/sink/client1/a"];
    assert_eq!(
        plan(&sink, "dst/sink/client1/a/b", &all, Unspecified),
        Ok(Vec::new())
    );
}

#[test]
fn the_pool_and_root_fs_are_never_made() {
    let pull = ReceiveRoot::of_pull(path("dst/a/pull"));
    let target = "dst/a/pull/src";
    let inherit = PlaceholderEncryption::Inherit;
    for (names, error) in [
        (&[][..], "pool \"dst\" not imported"),
        (&["dst"], "root_fs \"dst/a/pull\" does not exist"),
        (&["dst", "dst/a"], "root_fs \"dst/a/pull\" does not exist"),
    ] {
        assert_eq!(
            plan(&pull, target, names, inherit),
            Err(error.to_owned()),
            "{names:?}"
        );
    }
    let root_is_pool = ReceiveRoot::of_pull(path("dst"));
    assert_eq!(
        plan(&root_is_pool, "dst/src", &[], inherit),
        Err("pool \"dst\" not imported".to_owned())
    );
    assert_eq!(
        plan(&root_is_pool, "dst/src", &["dst"], inherit),
        Ok(Vec::new())
    );
}

#[test]
fn what_is_not_below_the_root_is_refused() {
    for target in ["dst/sink/client1", "dst/sink/client10/a", "dst/sink", "src"] {
        assert_eq!(
            plan(&sink(), target, &[], PlaceholderEncryption::Inherit),
            Err(format!("{target} is not below dst/sink/client1"))
        );
    }
}

#[test]
fn properties_are_those_of_zrepl() {
    let creation = |encryption| Creation {
        dataset: path("a/b"),
        encryption,
    };
    let common = [("zrepl:placeholder", "on"), ("mountpoint", "none")];
    assert_eq!(creation(Encryption::Inherit).properties(), common);
    assert_eq!(
        creation(Encryption::Off).properties(),
        [common[0], common[1], ("encryption", "off")]
    );
}

proptest! {
    #[test]
    fn making_what_is_planned_leaves_nothing_to_make(
        below in prop::collection::vec("[ab]", 1..6),
        there in prop::collection::vec(any::<bool>(), 8),
    ) {
        let sink = sink();
        let target = path(&format!("dst/sink/client1/{}", below.join("/")));
        let parents: Vec<_> = std::iter::successors(target.parent(), DatasetPath::parent).collect();
        let is_above = |parent: &DatasetPath| sink.root_fs().is_within(parent);
        let mut existing: BTreeSet<_> = parents
            .iter()
            .zip(there)
            .filter(|(parent, there)| *there || is_above(parent))
            .map(|(parent, _)| parent.clone())
            .collect();
        let plan = missing_parents(&sink, &target, &existing, PlaceholderEncryption::Off).expect("root exists");
        for made in plan {
            prop_assert!(made.dataset.is_within(sink.client_root()) && target.is_within(&made.dataset));
            prop_assert!(made.dataset != target);
            prop_assert!(existing.insert(made.dataset));
        }
        prop_assert!(parents.iter().all(|parent| existing.contains(parent)));
        let again = missing_parents(&sink, &target, &existing, PlaceholderEncryption::Unspecified);
        prop_assert_eq!(again, Ok(Vec::new()));
    }
}
