//! AWS's partitions: groups of regions whose hosts end alike. One table for whoever makes or judges a host of AWS.
//!
//! It says what botocore 1.43 says in `data/partitions.json`; a test compares every region with that file.

/// One partition.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// `aws`, `aws-cn`, …
    name: &'static str,
    /// What its regions begin with; a word and a number follow.
    prefixes: &'static [&'static str],
    /// The end of its hosts.
    pub(crate) suffix: &'static str,
    /// The end of its hosts that have IPv6 as well.
    pub(crate) dual_stack_suffix: &'static str,
}

/// What botocore takes for regions that no pattern matches.
static STANDARD: Partition = Partition {
    name: "aws",
    prefixes: &[
        "us-", "eu-", "ap-", "sa-", "ca-", "me-", "af-", "il-", "mx-",
    ],
    suffix: "amazonaws.com",
    dual_stack_suffix: "api.aws",
};

static GOVCLOUD: Partition = Partition {
    name: "aws-us-gov",
    prefixes: &["us-gov-"],
    suffix: "amazonaws.com",
    dual_stack_suffix: "api.aws",
};

static OTHERS: [Partition; 6] = [
    Partition {
        name: "aws-cn",
        prefixes: &["cn-"],
        suffix: "amazonaws.com.cn",
        dual_stack_suffix: "api.amazonwebservices.com.cn",
    },
    Partition {
        name: "aws-eusc",
        prefixes: &["eusc-de-"],
        suffix: "amazonaws.eu",
        dual_stack_suffix: "api.amazonwebservices.eu",
    },
    Partition {
        name: "aws-iso",
        prefixes: &["us-iso-"],
        suffix: "c2s.ic.gov",
        dual_stack_suffix: "api.aws.ic.gov",
    },
    Partition {
        name: "aws-iso-b",
        prefixes: &["us-isob-"],
        suffix: "sc2s.sgov.gov",
        dual_stack_suffix: "api.aws.scloud",
    },
    Partition {
        name: "aws-iso-e",
        prefixes: &["eu-isoe-"],
        suffix: "cloud.adc-e.uk",
        dual_stack_suffix: "api.cloud-aws.adc-e.uk",
    },
    Partition {
        name: "aws-iso-f",
        prefixes: &["us-isof-"],
        suffix: "csp.hci.ic.gov",
        dual_stack_suffix: "api.aws.hci.ic.gov",
    },
];

impl Partition {
    fn all() -> impl Iterator<Item = &'static Self> {
        [&STANDARD, &GOVCLOUD].into_iter().chain(&OTHERS)
    }

    /// The partition of a region; the standard one for regions that look like none.
    pub(crate) fn of_region(region: &str) -> &'static Self {
        Self::all()
            .find(|partition| partition.has(region))
            .unwrap_or(&STANDARD)
    }

    /// The partition whose hosts end so, and whether the suffix is that of hosts with IPv6. Where two share the suffix, the region decides.
    pub(crate) fn of_suffix(suffix: &str, region: &str) -> Option<(&'static Self, bool)> {
        let mode = |partition: &Self| match suffix {
            _ if suffix == partition.suffix => Some(false),
            _ if suffix == partition.dual_stack_suffix => Some(true),
            _ => None,
        };
        let of_region = Self::of_region(region);
        [of_region]
            .into_iter()
            .chain(Self::all())
            .find_map(|partition| Some((partition, mode(partition)?)))
    }

    /// Whether it is AWS GovCloud (US), whose plain hosts of some services are FIPS hosts.
    pub(crate) fn is_govcloud(&self) -> bool {
        self.name == GOVCLOUD.name
    }

    fn has(&self, region: &str) -> bool {
        let is_global = region
            .strip_suffix("-global")
            .is_some_and(|name| name == self.name);
        is_global
            || self.prefixes.iter().any(|prefix| {
                region
                    .strip_prefix(prefix)
                    .and_then(|rest| rest.split_once('-'))
                    .is_some_and(|(word, number)| is_word(word) && is_number(number))
            })
    }
}

/// The part of a host before AWS's suffix, with no dot at its end, and the suffix.
pub(crate) fn split_suffix(host: &str) -> Option<(&str, &'static str)> {
    Partition::all()
        .flat_map(|partition| [partition.suffix, partition.dual_stack_suffix])
        .find_map(|suffix| {
            let before = host.strip_suffix(suffix)?.strip_suffix('.')?;
            Some((before, suffix))
        })
}

/// Whether a label of a host looks like a region, of today or of years to come: `eu-west-1`, `us-isob-east-1`. Buckets and the like, whose
/// names anybody may choose, are never where a region does, but under services' own labels: `s3`, `s3-us-west-2`.
pub(crate) fn looks_like_region(label: &str) -> bool {
    let letters = |part: &str| part.bytes().all(|byte| byte.is_ascii_lowercase());
    let parts: Vec<&str> = label.split('-').collect();
    let ([area, words @ .., number], true) = (parts.as_slice(), parts.len() <= 4) else {
        return false;
    };
    (2..=4).contains(&area.len())
        && letters(area)
        && !words.is_empty()
        && words.iter().all(|word| !word.is_empty() && letters(word))
        && is_number(number)
        && number.len() <= 2
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_known_by_its_regions_and_by_its_suffixes() {
        for (region, name) in [
            ("eu-central-2", "aws"),
            ("mx-central-1", "aws"),
            ("aws-global", "aws"),
            ("nowhere", "aws"),
            ("us-iso-x", "aws"),
            ("cn-north-1", "aws-cn"),
            ("eusc-de-east-1", "aws-eusc"),
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("us-gov-east-1", "aws-us-gov"),
            ("aws-us-gov-global", "aws-us-gov"),
        ] {
            assert_eq!(Partition::of_region(region).name, name, "{region}");
        }
        let of = |suffix, region| {
            Partition::of_suffix(suffix, region).map(|(partition, dual)| (partition.name, dual))
        };
        assert_eq!(of("api.aws", "us-gov-west-1"), Some(("aws-us-gov", true)));
        assert_eq!(of("amazonaws.com", "cn-north-1"), Some(("aws", false)));
        assert_eq!(of("example.com", "eu-west-1"), None);
    }

    #[test]
    fn p92_a_region_is_no_service() {
        for region in ["eu-west-1", "us-isob-east-1", "eusc-de-east-1", "xy-new-12"] {
            assert!(looks_like_region(region), "{region}");
        }
        for other in [
            "s3",
            "s3-us-west-2",
            "elb",
            "eu-west",
            "eu--1",
            "eu-1",
            "e-west-1",
            "eu-west-1a",
            "eu-west-100",
            "-west-1",
            "eu-west-1-x-2",
            "EU-west-1",
            "",
        ] {
            assert!(!looks_like_region(other), "{other}");
        }
    }
}
