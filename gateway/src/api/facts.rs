//! `GET /v1/legal/privacy`, `GET /v1/templates`: what everybody may know of the service, in four languages.
//!
//! Owns: the version of the privacy text, and the table of templates. Not: the text itself (`gateway/src/legal/`).
//! Holds: (1) every text exists in every language; (2) a version, once published, stands for one text: who changes a
//! text changes [`PRIVACY_VERSION`] too.

use std::{collections::BTreeMap, str::FromStr};

use axum::{Json, extract::RawQuery};
use kluis_raft::model::{Category, DocType};
use serde::Serialize;
use utoipa::ToSchema;

use super::params::Params;
use crate::problem::{Code, Problem, ProblemBody};

/// Day of the newest change to the privacy text.
pub const PRIVACY_VERSION: &str = "2026-11-25";

/// Languages that people are spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Language {
    /// Dutch.
    Nl,
    /// French.
    Fr,
    /// German.
    De,
    /// English.
    En,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nl, Self::Fr, Self::De, Self::En];

    /// Its code (ISO 639-1).
    pub fn code(self) -> &'static str {
        match self {
            Self::Nl => "nl",
            Self::Fr => "fr",
            Self::De => "de",
            Self::En => "en",
        }
    }

    fn privacy(self) -> &'static str {
        match self {
            Self::Nl => include_str!("../legal/privacy.nl.md"),
            Self::Fr => include_str!("../legal/privacy.fr.md"),
            Self::De => include_str!("../legal/privacy.de.md"),
            Self::En => include_str!("../legal/privacy.en.md"),
        }
    }
}

impl FromStr for Language {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let unknown = || Problem::new(Code::BadParameter, "lang: nl, fr, de or en is wanted");
        Self::ALL.into_iter().find(|language| language.code() == text).ok_or_else(unknown)
    }
}

/// The privacy text.
#[derive(Debug, Serialize, ToSchema)]
pub struct PrivacyText {
    /// Its language.
    #[schema(value_type = String)]
    pub lang: &'static str,
    /// Its version: the day of its newest change. All languages change together.
    #[schema(value_type = String)]
    pub version: &'static str,
    /// The text, in Markdown.
    #[schema(value_type = String)]
    pub text: &'static str,
}

/// What happens with personal data here, in plain words.
#[utoipa::path(
    get, path = "/v1/legal/privacy", tag = "legal",
    params(("lang" = Option<String>, Query, description = "nl, fr, de or en; en if absent.")),
    responses(
        (status = 200, body = PrivacyText),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn privacy(RawQuery(query): RawQuery) -> Result<Json<PrivacyText>, Problem> {
    let params = Params::parse(query.as_deref(), &["lang"])?;
    let language = params.value("lang").map_or(Ok(Language::En), Language::from_str)?;
    Ok(Json(PrivacyText { lang: language.code(), version: PRIVACY_VERSION, text: language.privacy() }))
}

struct Row {
    key: &'static str,
    category: Category,
    doc_type: DocType,
    occasion: &'static str,
    recipient: &'static str,
    when: &'static str,
    /// In the order of [`Language::ALL`].
    titles: [&'static str; 4],
    advice: [&'static str; 4],
}

/// Which document, on what occasion, to whom.
const ROWS: [Row; 8] = [
    Row {
        key: "settlements",
        category: Category::Home,
        doc_type: DocType::Other,
        occasion: "before_deed",
        recipient: "notary_office",
        when: "now",
        titles: ["Afrekeningen", "Décomptes", "Abrechnungen", "Settlements"],
        advice: [
            "Deel de laatste afrekeningen van de syndicus met uw notariskantoor voor de verkoopakte.",
            "Partagez les derniers décomptes du syndic avec votre étude notariale avant l'acte de vente.",
            "Teilen Sie die letzten Abrechnungen des Verwalters vor der Verkaufsurkunde mit Ihrem Notariat.",
            "Share the manager's latest settlements with your notary office before the deed of sale.",
        ],
    },
    Row {
        key: "declaration_of_inheritance",
        category: Category::Succession,
        doc_type: DocType::Tax,
        occasion: "inheritance",
        recipient: "notary_office",
        when: "now",
        titles: ["Aangifte van nalatenschap", "Déclaration de succession", "Erbschaftserklärung", "Declaration of inheritance"],
        advice: [
            "Deel wat u van de goederen en schulden van de overledene hebt met het notariskantoor dat de aangifte opstelt.",
            "Partagez ce que vous avez sur les biens et les dettes du défunt avec l'étude qui rédige la déclaration.",
            "Teilen Sie Ihre Unterlagen über Güter und Schulden des Verstorbenen mit dem Notariat, das die Erklärung verfasst.",
            "Share what you have on the goods and debts of the deceased with the office that draws up the declaration.",
        ],
    },
    Row {
        key: "title_deeds",
        category: Category::Home,
        doc_type: DocType::Deed,
        occasion: "before_deed",
        recipient: "notary_office",
        when: "now",
        titles: ["Eigendomstitels", "Titres de propriété", "Eigentumstitel", "Title deeds"],
        advice: [
            "Deel uw eigendomstitel met uw notariskantoor voor u verkoopt, schenkt of leent.",
            "Partagez votre titre de propriété avec votre étude avant de vendre, de donner ou d'emprunter.",
            "Teilen Sie Ihren Eigentumstitel mit Ihrem Notariat, bevor Sie verkaufen, schenken oder ein Darlehen aufnehmen.",
            "Share your title deed with your notary office before you sell, give away or borrow.",
        ],
    },
    Row {
        key: "epc",
        category: Category::Home,
        doc_type: DocType::Epc,
        occasion: "before_deed",
        recipient: "notary_office",
        when: "now",
        titles: [
            "Energieprestatiecertificaat",
            "Certificat de performance énergétique",
            "Energieausweis",
            "Energy performance certificate",
        ],
        advice: [
            "Deel het certificaat met uw notariskantoor voor u verkoopt of verhuurt.",
            "Partagez le certificat avec votre étude avant de vendre ou de louer.",
            "Teilen Sie den Ausweis mit Ihrem Notariat, bevor Sie verkaufen oder vermieten.",
            "Share the certificate with your notary office before you sell or let.",
        ],
    },
    Row {
        key: "electrical_certificate",
        category: Category::Home,
        doc_type: DocType::ElectricalCertificate,
        occasion: "before_deed",
        recipient: "notary_office",
        when: "now",
        titles: ["Elektrische keuring", "Contrôle électrique", "Elektroprüfung", "Electrical certificate"],
        advice: [
            "Deel het keuringsverslag van de elektrische installatie met uw notariskantoor voor de verkoopakte.",
            "Partagez le procès-verbal de l'installation électrique avec votre étude avant l'acte de vente.",
            "Teilen Sie das Prüfprotokoll der elektrischen Anlage vor der Verkaufsurkunde mit Ihrem Notariat.",
            "Share the report on the electrical installation with your notary office before the deed of sale.",
        ],
    },
    Row {
        key: "password_list",
        category: Category::Personal,
        doc_type: DocType::PasswordList,
        occasion: "illness_or_stay_abroad",
        recipient: "trusted_person",
        when: "on_incapacity",
        titles: ["Lijst met wachtwoorden", "Liste de mots de passe", "Passwortliste", "Password list"],
        advice: [
            "Laat een vertrouwenspersoon erom vragen wanneer u ziek of onbereikbaar bent; u kunt weigeren zolang de wachttijd loopt.",
            "Une personne de confiance peut la demander si vous êtes malade ou injoignable ; vous pouvez refuser pendant le délai.",
            "Eine Vertrauensperson kann sie anfordern, wenn Sie krank oder unerreichbar sind; in der Wartezeit können Sie ablehnen.",
            "A trusted person may ask for it when you are ill or out of reach; you can say no while the waiting time runs.",
        ],
    },
    Row {
        key: "place_of_last_will",
        category: Category::Succession,
        doc_type: DocType::Will,
        occasion: "death",
        recipient: "family",
        when: "after_death",
        titles: ["Plaats van het testament", "Lieu du testament", "Ort des Testaments", "Place of the last will"],
        advice: [
            "Deel na overlijden waar uw testament ligt. Niemand ziet voordien dat u dit deelt.",
            "Partagez après décès l'endroit où se trouve votre testament. Personne ne voit avant que vous le partagez.",
            "Teilen Sie für die Zeit nach dem Tod, wo Ihr Testament liegt. Vorher sieht niemand, dass Sie es teilen.",
            "Share where your will lies for after your death. Nobody sees before then that you share it.",
        ],
    },
    Row {
        key: "real_estate_overview",
        category: Category::Possessions,
        doc_type: DocType::Other,
        occasion: "after_deed",
        recipient: "family",
        when: "after_death",
        titles: ["Overzicht van onroerend goed", "Aperçu des biens immobiliers", "Übersicht der Immobilien", "Overview of real estate"],
        advice: [
            "Houd na elke akte een overzicht van uw onroerend goed bij, zodat uw familie later niets hoeft te zoeken.",
            "Tenez après chaque acte un aperçu de vos immeubles, pour que vos proches n'aient rien à chercher plus tard.",
            "Führen Sie nach jeder Urkunde eine Übersicht Ihrer Immobilien, damit Ihre Familie später nichts suchen muss.",
            "Keep an overview of your real estate after each deed, so that your family has nothing to look for later.",
        ],
    },
];

/// Advice on one kind of document.
#[derive(Debug, Serialize, ToSchema)]
pub struct TemplateView {
    /// Its stable key.
    #[schema(value_type = String)]
    pub key: &'static str,
    /// The category that it is filed under.
    #[schema(value_type = String)]
    pub category: &'static str,
    /// The type of the document.
    #[schema(value_type = String)]
    pub doc_type: &'static str,
    /// When it is needed: `before_deed`, `after_deed`, `inheritance`, `illness_or_stay_abroad`, `death`.
    #[schema(value_type = String)]
    pub occasion: &'static str,
    /// To whom it is usually given: `notary_office`, `trusted_person`, `family`.
    #[schema(value_type = String)]
    pub recipient_kind: &'static str,
    /// The moment that a share begins with: `now`, `on_incapacity`, `after_death`.
    #[schema(value_type = String)]
    pub when: &'static str,
    /// What it is called, by language.
    #[schema(value_type = BTreeMap<String, String>)]
    pub title: BTreeMap<&'static str, &'static str>,
    /// What is advised, by language.
    #[schema(value_type = BTreeMap<String, String>)]
    pub advice: BTreeMap<&'static str, &'static str>,
}

/// All of them.
#[derive(Debug, Serialize, ToSchema)]
pub struct TemplateList {
    /// The templates.
    pub templates: Vec<TemplateView>,
}

fn by_language(texts: [&'static str; 4]) -> BTreeMap<&'static str, &'static str> {
    Language::ALL.map(Language::code).into_iter().zip(texts).collect()
}

fn templates_now() -> Vec<TemplateView> {
    let shown = |row: &Row| TemplateView {
        key: row.key,
        category: row.category.key(),
        doc_type: row.doc_type.key(),
        occasion: row.occasion,
        recipient_kind: row.recipient,
        when: row.when,
        title: by_language(row.titles),
        advice: by_language(row.advice),
    };
    ROWS.iter().map(shown).collect()
}

/// Which document people usually share, on what occasion, with whom.
#[utoipa::path(
    get, path = "/v1/templates", tag = "documents",
    responses(
        (status = 200, body = TemplateList),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn templates() -> Json<TemplateList> {
    Json(TemplateList { templates: templates_now() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_language_tells_the_same_things() {
        let headings = |language: Language| language.privacy().lines().filter(|line| line.starts_with("## ")).count();
        for language in Language::ALL {
            assert_eq!(language.code().parse::<Language>().unwrap(), language);
            assert!(language.privacy().starts_with("# "), "{language:?}");
            assert_eq!(headings(language), headings(Language::En), "{language:?}");
            assert!(language.privacy().contains(PRIVACY_VERSION), "{language:?} does not say its version");
        }
        assert!("NL".parse::<Language>().is_err());
    }

    #[test]
    fn templates_are_eight_different_ones_and_complete() {
        let all = templates_now();
        let keys: BTreeSet<&str> = all.iter().map(|template| template.key).collect();
        assert_eq!((all.len(), keys.len()), (8, 8));
        for template in all {
            for texts in [&template.title, &template.advice] {
                let different: BTreeSet<&&str> = texts.values().collect();
                assert_eq!((texts.len(), different.len()), (4, 4), "{}", template.key);
            }
        }
    }
}
