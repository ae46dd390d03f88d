//! The certificates that the doors show: each is read once, however many doors show it.

use std::sync::Arc;

use base::{Measured, Sample};
use edge::{Tls, TlsError, TlsSettings};

use crate::file::DoorTls;

/// The certificates in use.
pub(crate) struct Certificates {
    all: Option<TlsSettings>,
    opened: Vec<(TlsSettings, Arc<Tls>)>,
}

impl Certificates {
    /// `all` is the certificate of the doors that have none of their own.
    pub(crate) fn new(all: Option<TlsSettings>) -> Self {
        Self { all, opened: Vec::new() }
    }

    /// What a door shows.
    pub(crate) fn of(&mut self, door: &DoorTls) -> Result<Option<Arc<Tls>>, TlsError> {
        let Some(wanted) = door.chosen(self.all.as_ref()) else { return Ok(None) };
        if let Some((_, tls)) = self.opened.iter().find(|(settings, _)| settings == wanted) {
            return Ok(Some(tls.clone()));
        }
        let tls = Tls::open(wanted)?;
        self.opened.push((wanted.clone(), tls.clone()));
        Ok(Some(tls))
    }

    /// Their numbers, added up: `/metrics` has one line for each name.
    pub(crate) fn counts(self) -> CertificateCounts {
        CertificateCounts(self.opened.into_iter().map(|(_, tls)| tls).collect())
    }
}

/// What was counted over all certificates.
pub(crate) struct CertificateCounts(Vec<Arc<Tls>>);

impl Measured for CertificateCounts {
    fn measure(&self, samples: &mut Vec<Sample>) {
        let mut sums: Vec<Sample> = Vec::new();
        for tls in &self.0 {
            let mut one = Vec::new();
            tls.measure(&mut one);
            for sample in one {
                match sums.iter_mut().find(|sum| sum.name == sample.name) {
                    Some(sum) => sum.value += sample.value,
                    None => sums.push(sample),
                }
            }
        }
        samples.extend(sums);
    }
}
