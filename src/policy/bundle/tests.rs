//! Bundles of the shipped folder: whole, broken, and signed by whom.

use super::super::tests::shipped;
use super::*;
use crate::model::Department;

fn wanted() -> Wanted {
    Wanted {
        version: 3,
        expires: "2027-01-31T00:00:00Z".parse().unwrap(),
        author: "kim@marketing".to_owned(),
        replaces: None,
        governed: "00".to_owned(),
    }
}

fn bundle() -> Bundle {
    Bundle::of_folder(&shipped(), wanted()).unwrap()
}

/// The archive with other files under the same manifest.
fn with_files(change: impl FnOnce(&mut Files)) -> Result<Bundle, BundleError> {
    let bundle = bundle();
    let mut files = bundle.files.clone();
    change(&mut files);
    Bundle::open(&archive::write(bundle.manifest.text().as_bytes(), &files).unwrap())
}

#[test]
fn a_bundle_is_the_same_bytes_each_time_and_holds_the_folder() {
    let bundle = bundle();
    assert_eq!(bundle.bytes(), self::bundle().bytes());
    let policies = bundle.tested().unwrap();
    assert_eq!(policies.id(), Policies::load(&shipped()).unwrap().id());
    assert!(bundle.files.contains_key("tests/probes.toml") && bundle.files.contains_key("README.md"));
}

#[test]
fn files_that_the_manifest_does_not_say_are_refused() {
    let changed = with_files(|files| files.get_mut("00-floor.cedar").unwrap().push(b'\n'));
    assert_eq!(changed.unwrap_err(), BundleError::Changed("00-floor.cedar".to_owned()));
    let added = with_files(|files| drop(files.insert("99-more.cedar".to_owned(), Vec::new())));
    assert_eq!(added.unwrap_err(), BundleError::Unlisted("99-more.cedar".to_owned()));
    let removed = with_files(|files| drop(files.remove("40-prohibitions.cedar")));
    assert_eq!(removed.unwrap_err(), BundleError::Lacking("40-prohibitions.cedar".to_owned()));
}

#[test]
fn manifests_that_could_be_read_differently_are_refused() {
    let (bundle, text) = (bundle(), bundle().manifest.text());
    let open = |text: &str| Bundle::open(&archive::write(text.as_bytes(), &bundle.files).unwrap()).unwrap_err();
    for (from, to) in [("version = 3", "version = 3 "), ("format = 1\n", "# signed\nformat = 1\n"), ("31T00:00:00Z", "31T01:00:00+01:00")] {
        assert_eq!(open(&text.replace(from, to)), BundleError::OtherForm, "{to}");
    }
    for (from, to) in [("format = 1", "format = 2"), ("version = 3", "version = -3"), ("version = 3", "versions = 3"), ("governed = \"00\"\n", "")] {
        assert!(matches!(open(&text.replace(from, to)), BundleError::Manifest(_)), "{to}");
    }
}

#[test]
fn a_set_that_is_not_the_manifests_is_refused_when_it_is_loaded() {
    let text = bundle().manifest.text().replace(&bundle().manifest.set, &"0".repeat(64));
    let opened = Bundle::open(&archive::write(text.as_bytes(), &bundle().files).unwrap()).unwrap();
    assert!(matches!(opened.policies().unwrap_err(), BundleError::OtherSet { .. }));
}

#[test]
fn folders_that_cannot_be_bundled() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("policies");
    fs::create_dir_all(copy.join("tests")).unwrap();
    for entry in fs::read_dir(shipped()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
    }
    assert_eq!(Bundle::of_folder(&copy, wanted()).unwrap().tested().unwrap_err(), BundleError::NoCases);
    let failing =
        "[[case]]\nname = \"opens\"\napp = \"crm\"\naction = \"read\"\ncategory = \"order\"\npurpose = \"sales.outreach\"\nexpect = \"allow\"\n";
    fs::write(copy.join("tests/x.toml"), failing).unwrap();
    let failed = Bundle::of_folder(&copy, wanted()).unwrap().tested().unwrap_err();
    assert_eq!(failed, BundleError::Cases { failed: 1, all: 1, first: "opens".to_owned() });
    std::os::unix::fs::symlink("/etc/hostname", copy.join("tests/y.toml")).unwrap();
    assert_eq!(Bundle::of_folder(&copy, wanted()).unwrap_err(), BundleError::NoFile("tests/y.toml".to_owned()));
    let nobody = Wanted { author: "kim".to_owned(), ..wanted() };
    assert!(matches!(Bundle::of_folder(&shipped(), nobody).unwrap_err(), BundleError::Manifest(_)));
}

struct House {
    bundle: Bundle,
    policies: Policies,
    pens: Vec<(String, Pen)>,
}

impl House {
    fn new() -> Self {
        let names = ["kim@marketing", "ada@marketing", "lee@sales", "max@finance", "zoe@nowhere"];
        let bundle = bundle();
        Self { policies: bundle.policies().unwrap(), bundle, pens: names.map(|name| (name.to_owned(), Pen::new())).into() }
    }

    fn judged(&self, who: &[&str], need: &Need) -> Approvals {
        let lines: String = self.pens.iter().map(|(name, pen)| format!("{name} {}\n", pen.line())).collect();
        let signers = Signers::parse(Path::new("signers"), &lines).unwrap();
        let signed = |name: &&str| self.pens.iter().find(|(other, _)| other == name).unwrap().1.sign(self.bundle.bytes(), NAMESPACE);
        let signatures: String = who.iter().map(signed).collect();
        Approvals::of(&self.bundle, &signatures, &signers, "2026-06-01T00:00:00Z".parse().unwrap(), self.policies.vocabulary(), need).unwrap()
    }

    fn missing(&self, who: &[&str], need: &[&str], only_narrows: bool, departments_min: usize) -> String {
        let need = Need { departments: need.iter().map(|name| Department::intern(name)).collect(), only_narrows };
        self.judged(who, &need).missing(&need, departments_min).to_string()
    }
}

#[test]
fn the_right_departments_must_sign() {
    let house = House::new();
    let both = ["marketing", "sales"];
    for (who, need, only_narrows, min, missing) in [
        (&["kim@marketing", "ada@marketing", "lee@sales"][..], &both[..], false, 1, "nobody"),
        (&["kim@marketing", "ada@marketing"], &both, false, 1, "somebody of sales"),
        (&["kim@marketing", "lee@sales"], &both, false, 1, "somebody of marketing"),
        (&["ada@marketing", "lee@sales"], &both, false, 1, "the author"),
        (&[], &both, false, 1, "the author, somebody of marketing, somebody of sales"),
        (&["kim@marketing", "ada@marketing", "ada@marketing", "lee@sales"], &both, false, 3, "one more department"),
        (&["kim@marketing", "ada@marketing", "max@finance", "lee@sales"], &both, false, 3, "nobody"),
        (&["kim@marketing", "max@finance"], &both, true, 3, "nobody"),
        (&["kim@marketing"], &both, true, 1, "one more department"),
        (&["kim@marketing", "zoe@nowhere"], &both, true, 1, "one more department"),
        (&["kim@marketing"], &[], false, 1, "one more department"),
        // Of a department that the bundle takes away, as long as it must approve.
        (&["kim@marketing", "lee@sales"], &["sales", "nowhere"], false, 1, "somebody of nowhere"),
        (&["kim@marketing", "lee@sales", "zoe@nowhere"], &["sales", "nowhere"], false, 1, "nobody"),
        (&["kim@marketing", "zoe@nowhere"], &["nowhere"], true, 1, "nobody"),
        (&["kim@marketing", "lee@sales", "zoe@nowhere"], &["sales"], false, 2, "one more department"),
    ] {
        assert_eq!(house.missing(who, need, only_narrows, min), missing, "{who:?}");
    }
}

#[test]
fn signatures_that_do_not_count_say_why() {
    let house = House::new();
    let judged = house.judged(&["zoe@nowhere"], &Need::default());
    assert_eq!(judged.ignored[0].why, "the signer's department is not in the catalogue");
    let pen = &house.pens[2].1;
    let now = "2026-06-01T00:00:00Z".parse().unwrap();
    let of = |options: &str, signature: &str| {
        let signers = Signers::parse(Path::new("signers"), &format!("lee@sales {options}{}\n", pen.line())).unwrap();
        Approvals::of(&house.bundle, signature, &signers, now, house.policies.vocabulary(), &Need::default()).unwrap()
    };
    let why = |signature: &str| of("", signature).ignored[0].why;
    assert_eq!(why(&pen.sign(b"another bundle", NAMESPACE)), "it is not of this bundle");
    assert_eq!(why(&pen.sign(house.bundle.bytes(), "git")), "it is not of this bundle");
    assert_eq!(why(&Pen::new().sign(house.bundle.bytes(), NAMESPACE)), "the key is not among the allowed signers");
    let good = pen.sign(house.bundle.bytes(), NAMESPACE);
    for (options, why) in [
        ("valid-before=\"20260601Z\" ", Some("the key is no longer valid")),
        ("valid-before=\"20260601000001Z\" ", None),
        ("valid-after=\"20260601000001Z\" ", Some("the key is not valid yet")),
        ("valid-after=\"20260601Z\" ", None),
        ("namespaces=\"git\" ", Some("the key is for other uses (`namespaces`)")),
        ("namespaces=\"git,consentry-policy-bundle\" ", None),
    ] {
        let judged = of(options, &good);
        assert_eq!(judged.ignored.first().map(|ignored| ignored.why), why, "{options}");
        assert_eq!(judged.by.contains_key(&Department::intern("sales")), why.is_none(), "{options}");
    }
}
