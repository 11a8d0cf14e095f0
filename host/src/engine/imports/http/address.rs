//! Which addresses are whose.
//!
//! Owns the classes of addresses. Does not resolve anything. Invariant: an address that carries
//! another one is judged by that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who answers at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Somebody on the internet.
    Public,
    /// Somebody in the operator's own networks, or this machine.
    Private,
    /// The machinery around this machine, such as a cloud's metadata, or nobody in particular.
    Special,
}

/// What serves the secrets of machines in clouds, at addresses that are not link-local.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192)];
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

impl Class {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }
}

fn of_v4(address: Ipv4Addr) -> Class {
    let [a, b, c, _] = address.octets();
    if METADATA_V4.contains(&address) {
        return Class::Special;
    }
    match (a, b, c) {
        (10 | 127, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Class::Private,
        // This network, link-local, protocols, documentation, relays, benchmarks, multicast, reserved.
        (0 | 224..=255, ..)
        | (169, 254, _)
        | (192, 0, 0 | 2)
        | (192, 88, 99)
        | (198, 18..=19, _)
        | (198, 51, 100)
        | (203, 0, 113) => Class::Special,
        _ => Class::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> Class {
    if address == METADATA_V6 {
        return Class::Special;
    }
    let carried = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        of_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] | [0xfc00..=0xfdff, ..] => Class::Private,
        // IPv4 in IPv6: mapped, translated, 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => carried(high, low),
        // Of what is left, only 2000::/3 is given out, without protocols (Teredo among them) and
        // documentation.
        [0x2001, second, ..] if second > 0x1ff && second != 0xdb8 => Class::Public,
        [0x3fff, second, ..] if second > 0xfff => Class::Public,
        [0x2000 | 0x2003..=0x3ffe, ..] => Class::Public,
        _ => Class::Special,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        for (address, class) in [
            ("93.184.216.34", Class::Public),
            ("8.8.8.8", Class::Public),
            ("172.32.0.1", Class::Public),
            ("2606:4700::1111", Class::Public),
            ("64:ff9b::808:808", Class::Public),
            ("2002:808:808::1", Class::Public),
            ("127.0.0.1", Class::Private),
            ("127.255.0.3", Class::Private),
            ("10.1.2.3", Class::Private),
            ("172.16.0.1", Class::Private),
            ("192.168.1.1", Class::Private),
            ("100.64.0.1", Class::Private),
            ("::1", Class::Private),
            ("fd12::1", Class::Private),
            ("::ffff:127.0.0.1", Class::Private),
            ("64:ff9b::7f00:1", Class::Private),
            ("2002:7f00:1::", Class::Private),
            ("0.0.0.0", Class::Special),
            ("169.254.169.254", Class::Special),
            ("::ffff:169.254.169.254", Class::Special),
            ("168.63.129.16", Class::Special),
            ("100.100.100.200", Class::Special),
            ("192.0.0.192", Class::Special),
            ("fd00:ec2::254", Class::Special),
            ("224.0.0.1", Class::Special),
            ("255.255.255.255", Class::Special),
            ("240.0.0.1", Class::Special),
            ("198.18.0.1", Class::Special),
            ("::", Class::Special),
            ("::127.0.0.1", Class::Special),
            ("fe80::1", Class::Special),
            ("fec0::1", Class::Special),
            ("ff02::1", Class::Special),
            ("2001::1", Class::Special),
            ("2001:db8::1", Class::Special),
            ("64:ff9b:1::1", Class::Special),
        ] {
            assert_eq!(Class::of(address.parse().unwrap()), class, "{address}");
        }
    }
}
