//! What is said to people, in four languages: one table.
//!
//! Owns: titles of notices, and the text of mails. Not: sending.
//! Holds: (1) every kind has a text in every language: the compiler sees to the first, a test to the second; (2) a mail is
//! made of these sentences, the service's address and digits of a code, and there is no way to put anything else in:
//! [`MailText`] is made here only, of a kind and a language; (3) a text says what happened, and asks nobody to follow a
//! link to anything but the service's first page.

use kluis_chunkstore::env::Entropy;
use kluis_raft::model::{Lang, NoticeKind};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A mail as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailText {
    subject: &'static str,
    body: String,
}

impl MailText {
    /// Its subject.
    pub fn subject(&self) -> &str {
        self.subject
    }

    /// Its text.
    pub fn body(&self) -> &str {
        &self.body
    }
}

/// Eight digits that show that somebody reads the mails of an address.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct VerificationCode(String);

/// Secret: never in logs.
impl std::fmt::Debug for VerificationCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VerificationCode(..)")
    }
}

impl VerificationCode {
    /// Digits of a code: with five tries each, and ten codes a day, guessing takes thousands of years.
    const DIGITS: usize = 8;

    /// A new one.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        Self(format!("{:08}", u64::from_be_bytes(bytes) % 100_000_000))
    }

    /// The code in `text`.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == Self::DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| Self(text.to_owned()))
    }

    /// Its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The mail that tells of a notice. `service` is the service's address from the configuration.
pub fn of_notice(kind: NoticeKind, lang: Lang, service: &str) -> MailText {
    let subject = title(kind, lang);
    let [greeting, look, choose] = frame(lang);
    MailText { subject, body: format!("{greeting}\n\n{subject}.\n\n{look}\n{service}/\n\n{choose}\n") }
}

/// The mail with the code that verifies an address.
pub fn of_code(lang: Lang, code: &VerificationCode) -> MailText {
    let [greeting, _, _] = frame(lang);
    let [subject, enter, ignore] = match lang {
        Lang::Nl => [
            "Uw code om dit mailadres te bevestigen",
            "Vul deze code in om dit adres te bevestigen. Ze is een uur geldig:",
            "Hebt u hier niet om gevraagd? Dan hoeft u niets te doen.",
        ],
        Lang::Fr => [
            "Votre code pour confirmer cette adresse e-mail",
            "Saisissez ce code pour confirmer cette adresse. Il est valable une heure :",
            "Vous n'avez rien demandé ? Alors vous ne devez rien faire.",
        ],
        Lang::De => [
            "Ihr Code zur Bestätigung dieser E-Mail-Adresse",
            "Geben Sie diesen Code ein, um die Adresse zu bestätigen. Er gilt eine Stunde:",
            "Sie haben nicht darum gebeten? Dann müssen Sie nichts tun.",
        ],
        Lang::En => [
            "Your code to confirm this mail address",
            "Enter this code to confirm the address. It is good for an hour:",
            "You did not ask for it? Then there is nothing to do.",
        ],
    };
    MailText { subject, body: format!("{greeting}\n\n{enter}\n\n    {}\n\n{ignore}\n", code.as_str()) }
}

/// Greeting, where to look, where to choose.
fn frame(lang: Lang) -> [&'static str; 3] {
    match lang {
        Lang::Nl => [
            "Goedendag,",
            "Meld u aan bij uw kluis om te zien waarover het gaat. Om uw gegevens te beschermen staat dat niet in deze mail:",
            "In uw kluis kiest u welke berichten u per mail krijgt.",
        ],
        Lang::Fr => [
            "Bonjour,",
            "Connectez-vous à votre coffre pour voir de quoi il s'agit. Pour protéger vos données, cela ne figure pas dans cet e-mail :",
            "Dans votre coffre, vous choisissez les messages que vous recevez par e-mail.",
        ],
        Lang::De => [
            "Guten Tag,",
            "Melden Sie sich in Ihrem Tresor an, um zu sehen, worum es geht. Zum Schutz Ihrer Daten steht das nicht in dieser Mail:",
            "In Ihrem Tresor wählen Sie, welche Nachrichten Sie per Mail erhalten.",
        ],
        Lang::En => [
            "Good day,",
            "Sign in to your vault to see what it is about. To protect your data, this mail does not say so:",
            "In your vault you choose which messages come by mail.",
        ],
    }
}

/// What happened, as one sentence without its full stop.
pub fn title(kind: NoticeKind, lang: Lang) -> &'static str {
    let [nl, fr, de, en] = titles(kind);
    match lang {
        Lang::Nl => nl,
        Lang::Fr => fr,
        Lang::De => de,
        Lang::En => en,
    }
}

/// Dutch, French, German, English.
fn titles(kind: NoticeKind) -> [&'static str; 4] {
    use NoticeKind as K;
    match kind {
        K::InvitationReceived => [
            "Iemand nodigt u uit als contact",
            "Quelqu'un vous invite comme contact",
            "Jemand lädt Sie als Kontakt ein",
            "Somebody invites you as a contact",
        ],
        K::InvitationAccepted => [
            "Uw uitnodiging werd aanvaard",
            "Votre invitation a été acceptée",
            "Ihre Einladung wurde angenommen",
            "Your invitation was accepted",
        ],
        K::InvitationRefused => [
            "Uw uitnodiging werd geweigerd",
            "Votre invitation a été refusée",
            "Ihre Einladung wurde abgelehnt",
            "Your invitation was refused",
        ],
        K::InvitationExpired => {
            ["Uw uitnodiging is verlopen", "Votre invitation a expiré", "Ihre Einladung ist abgelaufen", "Your invitation has expired"]
        }
        K::ShareOffered => [
            "Er wordt een document met u gedeeld",
            "Un document est partagé avec vous",
            "Ein Dokument wird mit Ihnen geteilt",
            "A document is shared with you",
        ],
        K::ShareAccepted => [
            "Een document dat u deelt, werd aanvaard",
            "Un document que vous partagez a été accepté",
            "Ein Dokument, das Sie teilen, wurde angenommen",
            "A document that you share was accepted",
        ],
        K::ShareRefused => [
            "Een document dat u deelt, werd geweigerd",
            "Un document que vous partagez a été refusé",
            "Ein Dokument, das Sie teilen, wurde abgelehnt",
            "A document that you share was refused",
        ],
        K::ShareRevoked => [
            "Een document wordt niet meer met u gedeeld",
            "Un document n'est plus partagé avec vous",
            "Ein Dokument wird nicht mehr mit Ihnen geteilt",
            "A document is no longer shared with you",
        ],
        K::ShareOpened => [
            "Een document dat u deelt, werd geopend",
            "Un document que vous partagez a été ouvert",
            "Ein Dokument, das Sie teilen, wurde geöffnet",
            "A document that you share was opened",
        ],
        K::ShareCopied => [
            "Een document dat u deelt, werd gekopieerd",
            "Un document que vous partagez a été copié",
            "Ein Dokument, das Sie teilen, wurde kopiert",
            "A document that you share was copied",
        ],
        K::ShareNewVersion => [
            "Een document dat met u gedeeld wordt, heeft een nieuwe versie",
            "Un document partagé avec vous a une nouvelle version",
            "Ein mit Ihnen geteiltes Dokument hat eine neue Version",
            "A document that is shared with you has a new version",
        ],
        K::ShareAfterDeath => [
            "Na een overlijden is een document voor u beschikbaar",
            "Après un décès, un document est à votre disposition",
            "Nach einem Todesfall steht Ihnen ein Dokument zur Verfügung",
            "After a death, a document is available to you",
        ],
        K::AccessRequested => [
            "Iemand vraagt toegang omdat u zelf niet zou kunnen handelen",
            "Quelqu'un demande l'accès parce que vous ne pourriez pas agir vous-même",
            "Jemand bittet um Zugang, weil Sie selbst nicht handeln könnten",
            "Somebody asks for access because you could not act yourself",
        ],
        K::MalwareRefused => [
            "In een document werd schadelijke software gevonden",
            "Un logiciel malveillant a été trouvé dans un document",
            "In einem Dokument wurde Schadsoftware gefunden",
            "Malware was found in a document",
        ],
        K::ErasureDone => [
            "Een document werd definitief gewist",
            "Un document a été effacé définitivement",
            "Ein Dokument wurde endgültig gelöscht",
            "A document was erased for good",
        ],
        K::DeedArrived => [
            "Er is een akte aangekomen in uw kluis",
            "Un acte est arrivé dans votre coffre",
            "In Ihrem Tresor ist eine Urkunde eingetroffen",
            "A deed arrived in your vault",
        ],
        K::OfficeMessage => [
            "Uw notariskantoor stuurde een bericht",
            "Votre étude notariale a envoyé un message",
            "Ihr Notariat hat eine Nachricht geschickt",
            "Your notary's office sent a message",
        ],
        K::RequestArrived => [
            "Gevraagde stukken zijn aangekomen",
            "Des pièces demandées sont arrivées",
            "Angeforderte Unterlagen sind eingetroffen",
            "Items that were asked for arrived",
        ],
        K::CertificationStep => [
            "Een certificering is een stap verder",
            "Une certification a avancé d'une étape",
            "Eine Beglaubigung ist einen Schritt weiter",
            "A certification came a step further",
        ],
        K::CountersignFailed => [
            "De medeondertekening van een certificering is mislukt",
            "La contresignature d'une certification a échoué",
            "Die Gegenzeichnung einer Beglaubigung ist fehlgeschlagen",
            "The countersignature of a certification failed",
        ],
        K::Quota80 => {
            ["Uw kluis is voor 80 % vol", "Votre coffre est rempli à 80 %", "Ihr Tresor ist zu 80 % voll", "Your vault is 80 % full"]
        }
        K::Quota95 => {
            ["Uw kluis is voor 95 % vol", "Votre coffre est rempli à 95 %", "Ihr Tresor ist zu 95 % voll", "Your vault is 95 % full"]
        }
        K::Quota100 => ["Uw kluis is vol", "Votre coffre est plein", "Ihr Tresor ist voll", "Your vault is full"],
        K::DeathReported => [
            "Uw overlijden werd gemeld: meld u aan als dat niet klopt",
            "Votre décès a été signalé : connectez-vous si c'est faux",
            "Ihr Tod wurde gemeldet: melden Sie sich an, wenn das nicht stimmt",
            "Your death was reported: sign in if that is wrong",
        ],
        K::LookedUp => [
            "U werd opgezocht met uw rijksregisternummer",
            "Vous avez été recherché au moyen de votre numéro national",
            "Sie wurden anhand Ihrer Nationalregisternummer gesucht",
            "You were looked up by your national number",
        ],
        K::PlanChanged => [
            "De regeling voor uw nalatenschap werd gewijzigd",
            "Les dispositions pour votre succession ont été modifiées",
            "Die Regelung für Ihren Nachlass wurde geändert",
            "The plan for your estate was changed",
        ],
        K::NewDevice => [
            "Er werd aangemeld met een nieuw toestel",
            "Une connexion a eu lieu avec un nouvel appareil",
            "Es wurde mit einem neuen Gerät angemeldet",
            "Somebody signed in with a new device",
        ],
        K::PolicyChanged => [
            "De privacyverklaring werd gewijzigd",
            "La déclaration de confidentialité a été modifiée",
            "Die Datenschutzerklärung wurde geändert",
            "The privacy policy was changed",
        ],
        K::EstateInvited => [
            "U wordt betrokken bij een nalatenschap",
            "Vous êtes associé à une succession",
            "Sie werden an einem Nachlass beteiligt",
            "You are asked to take part in an estate",
        ],
        K::EstateReleased => [
            "Een nalatenschap is voor u beschikbaar",
            "Une succession est à votre disposition",
            "Ein Nachlass steht Ihnen zur Verfügung",
            "An estate is available to you",
        ],
        K::EstateDeadline => [
            "De termijn om een nalatenschap over te nemen loopt af",
            "Le délai pour reprendre une succession arrive à son terme",
            "Die Frist zur Übernahme eines Nachlasses läuft ab",
            "The time to take over an estate comes to its end",
        ],
        K::EstateErased => {
            ["Een nalatenschap werd gewist", "Une succession a été effacée", "Ein Nachlass wurde gelöscht", "An estate was erased"]
        }
        K::EstateLateHeir => [
            "Er werd nog een erfgenaam gevonden",
            "Un héritier supplémentaire a été trouvé",
            "Ein weiterer Erbe wurde gefunden",
            "One more heir was found",
        ],
        K::EstateReversed => [
            "Een melding van overlijden werd ingetrokken",
            "Un avis de décès a été retiré",
            "Eine Todesmeldung wurde zurückgenommen",
            "A report of a death was taken back",
        ],
        K::TransferDue => [
            "Er moet een kluis worden overgedragen",
            "Un coffre doit être transmis",
            "Ein Tresor muss übertragen werden",
            "A vault must be transferred",
        ],
        K::ClaimConflict => [
            "Een ander kantoor maakt aanspraak op dezelfde kluis",
            "Une autre étude revendique le même coffre",
            "Ein anderes Notariat beansprucht denselben Tresor",
            "Another office claims the same vault",
        ],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_a_text_of_its_own_in_every_language() {
        for lang in Lang::ALL {
            let mut seen = BTreeSet::new();
            for kind in NoticeKind::ALL {
                let text = title(*kind, lang);
                assert!(text.chars().count() >= 10 && text.len() < 120 && !text.ends_with('.'), "{kind:?} {lang:?}: {text}");
                assert!(seen.insert(text), "{kind:?} {lang:?}: {text} is there twice");
                let mail = of_notice(*kind, lang, "https://vault.example");
                assert!(mail.body().contains(text) && mail.body().contains("https://vault.example/\n"));
                assert_eq!(mail.subject(), text);
            }
        }
        for kind in NoticeKind::ALL {
            let texts: BTreeSet<&str> = Lang::ALL.into_iter().map(|lang| title(*kind, lang)).collect();
            assert_eq!(texts.len(), 4, "{kind:?}: two languages have one text");
        }
    }

    #[test]
    fn a_mail_has_no_link_but_to_the_first_page_and_no_digits_of_people() {
        for (kind, lang) in NoticeKind::ALL.iter().flat_map(|kind| Lang::ALL.map(|lang| (kind, lang))) {
            let body = of_notice(*kind, lang, "https://vault.example").body;
            assert_eq!(body.matches("://").count(), 1, "{body}");
            let longest = body.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
            assert!(longest <= Some(3), "{body}");
        }
    }

    #[test]
    fn codes_are_eight_digits() {
        let code = VerificationCode::generate(&crate::keys::tests::TestEntropy);
        assert_eq!(VerificationCode::parse(code.as_str()), Some(code.clone()));
        assert!(of_code(Lang::Fr, &code).body().contains(code.as_str()));
        for bad in ["", "1234567", "123456789", "1234567a", "1234567\u{661}"] {
            assert_eq!(VerificationCode::parse(bad), None, "{bad}");
        }
    }
}
