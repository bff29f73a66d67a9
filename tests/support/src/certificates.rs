//! Certificates made for one test, in a directory that ends with it.

use std::fs;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

use crate::unique_name;

/// An authority, and the certificates that it signs, as PEM files.
#[derive(Debug)]
pub struct Certificates {
    authority: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// A certificate and its private key.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key (PKCS #8).
    pub key: PathBuf,
    /// Both in one file, the key first.
    pub both: PathBuf,
}

impl Certificates {
    /// Makes an authority with a key of its own.
    pub fn new() -> Self {
        let mut params = named(&unique_name("authority"), &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let directory = TempDir::new().expect("a temporary directory");
        fs::write(directory.path().join("ca.pem"), authority.pem()).expect("writes a certificate");
        Self { authority, directory }
    }

    /// Returns the authority's own certificate.
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Returns a certificate for a broker on this machine.
    pub fn server(&self) -> Pair {
        self.sign("server", &served(&["localhost", "127.0.0.1"]))
    }

    /// Returns a broker's certificate that ended years ago.
    pub fn expired(&self) -> Pair {
        let mut params = served(&["localhost", "127.0.0.1"]);
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
        self.sign("expired", &params)
    }

    /// Returns a broker's certificate for another machine.
    pub fn elsewhere(&self) -> Pair {
        self.sign("elsewhere", &served(&["broker.elsewhere.test"]))
    }

    /// Returns a certificate for a client of this name. A second one of the same name takes the place of
    /// the first, in the same files.
    pub fn client(&self, name: &str) -> Pair {
        let mut params = named(name, &[]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(name, &params)
    }

    fn sign(&self, file: &str, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        let write = |kind: &str, text: &str| {
            let path = self.directory.path().join(format!("{file}.{kind}.pem"));
            fs::write(&path, text).expect("writes a certificate");
            path
        };
        let (certificate, key) = (certificate.pem(), key.serialize_pem());
        Pair {
            both: write("both", &format!("{key}{certificate}")),
            certificate: write("certificate", &certificate),
            key: write("key", &key),
        }
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

fn served(names: &[&str]) -> CertificateParams {
    let mut params = named("broker", names);
    // Brokers of a cluster show it to one another too.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn named(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("names of machines");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
