//! What a person reads who follows a withdrawal link, in English or Danish. One page without script, pictures or anything
//! from elsewhere; whom it is about does not stand there.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::withdrawals::Followed;
use crate::config::{PublicPage, Words};

/// In which language a person reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    English,
    Danish,
}

impl Language {
    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Danish => "da",
        }
    }

    /// From `Accept-Language` (RFC 9110, 12.5.4): Danish when it is wanted more than English, else English.
    pub(super) fn of(accept: &str) -> Self {
        let mut best = (Self::English, 0.0_f32);
        for item in accept.split(',') {
            let mut parts = item.split(';').map(str::trim);
            let range = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|p| p.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse::<f32>().ok()).unwrap_or(0.0);
            let language = match range.split('-').next() {
                Some("da") => Self::Danish,
                Some("en") => Self::English,
                _ => continue,
            };
            if weight > best.1 {
                best = (language, weight);
            }
        }
        best.0
    }

    pub(super) fn parse(tag: &str) -> Option<Self> {
        match tag {
            "en" => Some(Self::English),
            "da" => Some(Self::Danish),
            _ => None,
        }
    }

    pub(super) const fn say(self, texts: [&'static str; 2]) -> &'static str {
        let [english, danish] = texts;
        match self {
            Self::English => english,
            Self::Danish => danish,
        }
    }
}

/// What the page is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The link works and nothing has been done.
    Asking,
    Followed(Followed),
    /// The link does not work; it is not told why.
    Gone,
    TooMany,
}

/// The whole page. `purpose`: its key, for a link that works.
pub(super) fn render(state: State, language: Language, settings: Option<&PublicPage>, purpose: Option<&str>) -> String {
    let say = |texts| language.say(texts);
    let Texts { title, text, closing, button } = texts(state);
    let words = purpose.map(|key| {
        let known = settings.and_then(|s| s.words.iter().find(|(purpose, _)| purpose.as_str() == key)).map(|(_, words)| words);
        known.map_or(key, |Words { en, da }| if language == Language::Danish { da } else { en })
    });
    let named = words.map(|words| format!("<p class=\"what\">{}</p>", escaped(words))).unwrap_or_default();
    let button = button.map(|words| format!("<form method=\"post\"><button>{}</button></form>", say(words))).unwrap_or_default();
    let contact = settings.map_or_else(|| say(THE_SENDER).to_owned(), |s| format!("<b>{}</b>", escaped(&s.contact)));
    let closing = say(closing).replace("{contact}", &contact);
    format!(
        "<!doctype html>\n<html lang=\"{tag}\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n<p>{text}</p>\n{named}\n{button}\n<p class=\"small\">{closing}</p>\n\
         </main>\n</body>\n</html>\n",
        tag = language.tag(),
        title = say(title),
        text = say(text),
    )
}

/// The policy under which a browser shows the page: its own style and its own form, nothing else.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    format!("default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
});

/// The policy under which a browser shows a page that loads its own style sheet and nothing else.
pub(super) fn style_only(css: &str) -> String {
    let hash = STANDARD.encode(digest(&SHA256, css.as_bytes()));
    format!("default-src 'none'; style-src 'sha256-{hash}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
}

/// English and Danish.
type Text = [&'static str; 2];

struct Texts {
    title: Text,
    text: Text,
    closing: Text,
    /// What can be pressed.
    button: Option<Text>,
}

const STOP: Text = ["Stop this", "Stop det"];
const TRY_AGAIN: Text = ["Try again", "Prøv igen"];
const THE_SENDER: Text = ["whoever sent you the link", "den, der har sendt dig linket"];
const NOTHING_MORE: Text = ["There is nothing more to do. You can close this page.", "Du skal ikke gøre mere. Du kan lukke siden."];

const fn texts(state: State) -> Texts {
    match state {
        State::Asking => Texts {
            title: ["Do you want to stop this?", "Vil du stoppe dette?"],
            text: [
                "With this link you withdraw your consent to the use of your data for:",
                "Med dette link trækker du dit samtykke tilbage til, at dine data bruges til:",
            ],
            closing: [
                "It takes effect at once, and you need no account. Nothing happens before you press the button.",
                "Det gælder med det samme, og du skal ikke logge ind. Der sker ingenting, før du trykker på knappen.",
            ],
            button: Some(STOP),
        },
        State::Followed(Followed::Stopped) => Texts {
            title: ["Stopped", "Det er stoppet"],
            text: [
                "Your consent is withdrawn, and this is in force now. It was about the use of your data for:",
                "Dit samtykke er trukket tilbage, og det gælder fra nu af. Det handlede om brugen af dine data til:",
            ],
            closing: NOTHING_MORE,
            button: None,
        },
        State::Followed(Followed::Already) => Texts {
            title: ["This is already stopped", "Det er allerede stoppet"],
            text: [
                "You have withdrawn your consent before, and that is in force. It is about the use of your data for:",
                "Du har trukket dit samtykke tilbage før, og det gælder. Det handler om brugen af dine data til:",
            ],
            closing: NOTHING_MORE,
            button: None,
        },
        State::Followed(Followed::NotStored) => Texts {
            title: ["Stopped, but not saved yet", "Det er stoppet, men ikke gemt endnu"],
            text: [
                "Your consent is withdrawn, and this is in force now. One of our systems could not save it yet. It is about the use of your data for:",
                "Dit samtykke er trukket tilbage, og det gælder fra nu af. Et af vores systemer kunne ikke gemme det endnu. Det handler om brugen af dine data til:",
            ],
            closing: [
                "Please press the button once more in a few minutes, so that it is kept. If that does not help, contact {contact}.",
                "Tryk på knappen igen om nogle minutter, så det bliver gemt. Hjælper det ikke, så kontakt {contact}.",
            ],
            button: Some(TRY_AGAIN),
        },
        State::Followed(Followed::Failed) => Texts {
            title: ["We could not finish this", "Vi kunne ikke gøre det færdigt"],
            text: [
                "Something is wrong on our side, and we cannot say yet whether this is stopped:",
                "Der er noget galt hos os, og vi kan endnu ikke sige, om dette er stoppet:",
            ],
            closing: [
                "Please press the button once more in a few minutes. If that does not help, contact {contact}.",
                "Tryk på knappen igen om nogle minutter. Hjælper det ikke, så kontakt {contact}.",
            ],
            button: Some(TRY_AGAIN),
        },
        State::Gone | State::Followed(Followed::Void) => Texts {
            title: ["This link does not work", "Linket virker ikke"],
            text: [
                "It may be too old, or a part of it may be missing. Nothing has been changed.",
                "Det kan være for gammelt, eller der mangler en del af det. Der er ikke ændret noget.",
            ],
            closing: [
                "To stop the use of your data, use the link in a newer message, or contact {contact}.",
                "Vil du stoppe brugen af dine data, så brug linket i en nyere besked, eller kontakt {contact}.",
            ],
            button: None,
        },
        State::TooMany => Texts {
            title: ["Please wait a minute", "Vent et øjeblik"],
            text: ["Too many requests have come from where you are.", "Der er kommet for mange forespørgsler fra det sted, hvor du er."],
            closing: ["Open the link again in a minute, or contact {contact}.", "Åbn linket igen om et minut, eller kontakt {contact}."],
            button: None,
        },
    }
}

pub(super) fn escaped(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            '\'' => "&#39;".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2430;--soft:#57606e;--paper:#fff;--ground:#eef1f5;--line:#c9d0da;--act:#0b5cad;--on-act:#fff}\
@media(prefers-color-scheme:dark){:root{--ink:#eceff4;--soft:#aab4c2;--paper:#1f2630;--ground:#141920;--line:#3a4452;--act:#7cb7f5;--on-act:#10161d}}\
body{margin:0;padding:4vh 1rem;background:var(--ground);color:var(--ink);font:1.0625rem/1.55 system-ui,sans-serif}\
main{box-sizing:border-box;max-width:34rem;margin:0 auto;padding:2rem;background:var(--paper);border:1px solid var(--line);border-radius:.75rem}\
h1{margin:0 0 1rem;font-size:1.5rem;line-height:1.25}\
p{margin:0 0 1rem}\
.what{padding:.75rem 1rem;border-left:.25rem solid var(--act);background:var(--ground);font-weight:600;overflow-wrap:anywhere}\
button{width:100%;min-height:3rem;margin:.25rem 0 1.25rem;padding:.75rem 1.5rem;border:0;border-radius:.5rem;background:var(--act);color:var(--on-act);font:inherit;font-weight:600;cursor:pointer}\
button:focus-visible{outline:.2rem solid var(--ink);outline-offset:.15rem}\
.small{margin:0;color:var(--soft);font-size:.9375rem}";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::Purpose;

    fn settings() -> PublicPage {
        let words = Words { en: "news by <e-mail>".to_owned(), da: "nyheder".to_owned() };
        PublicPage {
            base_url: "https://consent.example.com".to_owned(),
            contact: "privacy@example.com".to_owned(),
            link_days_max: 400,
            words: BTreeMap::from([(Purpose::intern("marketing.email"), words)]),
        }
    }

    const EVERY: [State; 8] = [
        State::Asking,
        State::Followed(Followed::Stopped),
        State::Followed(Followed::Already),
        State::Followed(Followed::NotStored),
        State::Followed(Followed::Failed),
        State::Followed(Followed::Void),
        State::Gone,
        State::TooMany,
    ];

    #[test]
    fn danish_is_for_who_wants_it_more_than_english() {
        for (accept, language) in [
            ("da", Language::Danish),
            ("da-DK,da;q=0.9,en;q=0.8", Language::Danish),
            ("de-DE,da;q=0.3", Language::Danish),
            ("en;q=0.2, da;q=0.9", Language::Danish),
            ("DA", Language::Danish),
            ("", Language::English),
            ("en-GB,da;q=0.9", Language::English),
            ("da;q=0", Language::English),
            ("da;q=x", Language::English),
            ("da;q=0.5,en", Language::English),
            ("en,da", Language::English),
            ("*", Language::English),
            ("fr-FR", Language::English),
            ("dansk", Language::English),
        ] {
            assert_eq!(Language::of(accept), language, "{accept}");
        }
    }

    #[test]
    fn every_page_stands_alone_and_asks_only_where_there_is_something_to_do() {
        let settings = settings();
        for (state, language) in EVERY.into_iter().flat_map(|state| [(state, Language::English), (state, Language::Danish)]) {
            let page = render(state, language, Some(&settings), Some("marketing.email"));
            for foreign in ["<script", "<img", "http:", "https:", "src=", "href=", "onclick", "{contact}", "<e-mail>"] {
                assert!(!page.contains(foreign), "`{foreign}` in {page}");
            }
            let asks = matches!(state, State::Asking | State::Followed(Followed::NotStored | Followed::Failed));
            assert_eq!(page.matches("<button>").count(), usize::from(asks), "{page}");
            assert!(page.contains(&format!("<html lang=\"{}\">", language.tag())));
        }
    }

    #[test]
    fn the_purpose_is_told_in_words_or_by_its_key() {
        let settings = settings();
        let page = |language, purpose| render(State::Asking, language, Some(&settings), Some(purpose));
        assert!(page(Language::English, "marketing.email").contains("news by &lt;e-mail&gt;"));
        assert!(page(Language::Danish, "marketing.email").contains("nyheder"));
        assert!(page(Language::Danish, "sales.outreach").contains("sales.outreach"));
    }

    #[test]
    fn the_policy_allows_the_pages_own_style_alone() {
        assert!(POLICY.starts_with("default-src 'none'; style-src 'sha256-"));
        assert!(!POLICY.contains("unsafe") && !POLICY.contains("script"));
    }
}
