//! What a failed handshake means, and what to change.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Returns what failed in TLS and what to change, if TLS is what failed: one line, without a secret.
pub fn explain(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<Error>() {
            return Some(line(tls));
        }
        // The source of an I/O error is that of what it wraps: the wrapped one would be stepped over.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

fn line(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(alert) => refused(*alert),
        Error::InvalidMessage(_) => {
            "what answered does not speak TLS: name the TLS port, or leave TLS out".to_owned()
        }
        Error::General(reason) => reason.clone(),
        error => format!("TLS failed: {error}"),
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the broker's certificate has expired: renew it at the broker".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the broker's certificate is not valid yet: compare the clocks".to_owned()
        }
        CertificateError::NotValidForName => {
            "the broker's certificate is for another name: connect by a name that it holds".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the broker's certificate is not for {}, but for {}: connect by a name that it holds",
            expected.to_str(),
            presented.join(", "),
        ),
        // A bad signature is what an authority of the same name with another key looks like.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the broker's certificate is from an unknown authority: set `tls.ca` to the one it is from"
                .to_owned()
        }
        error => format!("the broker's certificate cannot be accepted: {error}"),
    }
}

fn refused(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the broker asks for a certificate: set `tls.certificate` and `tls.key`".to_owned()
        }
        AlertDescription::CertificateExpired => {
            "the broker refuses `tls.certificate`: it has expired".to_owned()
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "the broker refuses `tls.certificate`: it is from an authority that the broker does not know"
                .to_owned()
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied => {
            format!("the broker refuses `tls.certificate`, or asks for one: {alert:?}")
        }
        AlertDescription::HandshakeFailure => {
            "the broker ends the TLS handshake: it may ask for `tls.certificate`, or share no cipher"
                .to_owned()
        }
        alert => format!("the broker ends the TLS handshake: {alert:?}"),
    }
}
