//! How long the API's certificate is valid.

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use x509_parser::pem::Pem;

use crate::cli::finding::Finding;

const DAY: i64 = 24 * 60 * 60;

/// Whoever renews does it before: with fewer days, nobody did.
const SOON: i64 = 14;

/// What a certificate says of its time, in seconds.
#[derive(Clone, Copy)]
struct Validity {
    from: i64,
    until: i64,
}

pub(super) fn look(cert: &Path) -> Finding {
    match read(cert) {
        Ok(validity) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            judge(cert, validity, i64::try_from(now).unwrap_or(i64::MAX))
        }
        Err(error) => Finding::failed(
            "certificate",
            format!("tls-cert: {}: {error}", cert.display()),
            "name a certificate in PEM, that of the server first",
        ),
    }
}

/// Of the first certificate, which is the server's.
fn read(cert: &Path) -> Result<Validity, String> {
    let bytes = fs::read(cert).map_err(|error| error.to_string())?;
    let mut pems = Pem::iter_from_buffer(&bytes).filter_map(Result::ok);
    let pem = pems.find(|pem| pem.label == "CERTIFICATE").ok_or("there is no certificate in it")?;
    let validity = pem.parse_x509().map_err(|error| error.to_string())?.validity().clone();
    Ok(Validity { from: validity.not_before.timestamp(), until: validity.not_after.timestamp() })
}

fn judge(cert: &Path, Validity { from, until }: Validity, now: i64) -> Finding {
    let cert = cert.display();
    let fix = "renew it: a running server takes up the new one by itself";
    if now < from {
        let fix = "set the clock of this machine, or name another certificate";
        return Finding::failed("certificate", format!("{cert} is not valid yet"), fix);
    }
    if now >= until {
        return Finding::failed(
            "certificate",
            format!("{cert} is not valid any more: clients refuse it"),
            fix,
        );
    }
    let days = (until - now) / DAY;
    let says = format!("{cert} is valid for {days} more days");
    if days < SOON { Finding::warning("certificate", says, fix) } else { Finding::ok("certificate", says) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::finding::Verdict;

    #[test]
    fn the_end_is_told_before_it_comes() {
        let validity = Validity { from: 0, until: 100 * DAY };
        for (now, verdict) in [
            (-1, Verdict::Failed),
            (0, Verdict::Ok),
            (86 * DAY, Verdict::Ok),
            (87 * DAY, Verdict::Warning),
            (100 * DAY, Verdict::Failed),
        ] {
            assert_eq!(judge(Path::new("c.pem"), validity, now).verdict, verdict, "{now}");
        }
    }
}
