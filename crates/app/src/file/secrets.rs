//! Certificates of doors: `[tls]` for all of them, `[DOOR.tls]` for one, `tls = false` for none.

use std::path::Path;

use base::settings::{Data, Section};
use edge::TlsSettings;

/// Which certificate a door shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum DoorTls {
    /// The one of `[tls]`, if the file has that.
    #[default]
    AsAll,
    /// None, whatever `[tls]` says.
    Off,
    /// One of its own.
    Own(TlsSettings),
}

impl DoorTls {
    /// The certificate, if there is one; `all` is that of `[tls]`.
    pub(crate) fn chosen<'a>(&'a self, all: Option<&'a TlsSettings>) -> Option<&'a TlsSettings> {
        match self {
            Self::AsAll => all,
            Self::Off => None,
            Self::Own(own) => Some(own),
        }
    }
}

/// Reads `tls` of a door's section.
pub(crate) fn of_door(section: &mut Section<'_>, folder: &Path) -> DoorTls {
    if let Some(Data::Table(_)) = section.look("tls") {
        let read = section.section("tls", |section| of_all(section, folder)).flatten();
        return read.map_or(DoorTls::AsAll, DoorTls::Own);
    }
    match section.boolean("tls") {
        Some(false) => DoorTls::Off,
        Some(true) | None => DoorTls::AsAll,
    }
}

/// Reads `[tls]`; names of files go from `folder`.
pub(crate) fn of_all(section: &mut Section<'_>, folder: &Path) -> Option<TlsSettings> {
    let TlsSettings { certificate, key } = TlsSettings::read(section)?;
    Some(TlsSettings { certificate: folder.join(certificate), key: folder.join(key) })
}
