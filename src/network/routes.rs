//! Changes of the system's routes and addresses, as the kernel tells them: the path to the service may be gone, long before silence shows
//! it.
//!
//! An rtnetlink socket, which anybody may open. Where there is none (another system, a sandbox that forbids it), sessions go on without.

#[cfg(target_os = "linux")]
pub(super) use linux::RouteWatch;
#[cfg(not(target_os = "linux"))]
pub(super) use other::RouteWatch;

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    use rustix::io::Errno;
    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

    /// RTMGRP_LINK, and RTMGRP_IPV4_IFADDR, _ROUTE and the same of IPv6, of linux/rtnetlink.h.
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
    /// RTM_NEWLINK: what a device is now. Wireless ones send it for every scan as well.
    const NEW_LINK: u16 = 16;
    /// Where `struct nlmsghdr` has the type, and where `struct ifinfomsg` after it says which flags have changed.
    const TYPE_AT: usize = 4;
    const CHANGED_AT: usize = 28;
    /// Messages that are read at a time. More of them are one change all the same.
    const AT_ONCE: usize = 256;

    /// Is told of changes.
    #[derive(Debug)]
    pub(in super::super) struct RouteWatch(OwnedFd);

    impl RouteWatch {
        /// None where the system does not tell.
        pub(in super::super) fn open() -> Option<Self> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            // Without a protocol it is NETLINK_ROUTE, which is 0.
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None);
            let opened = socket.and_then(|socket| {
                bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
                Ok(Self(socket))
            });
            if let Err(error) = &opened {
                log::debug!("changes of routes are not seen: {error}");
            }
            opened.ok()
        }

        /// Takes what was told; whether a path may have changed.
        pub(in super::super) fn take_change(&self) -> bool {
            let mut has_changed = false;
            let mut message = [0; 64];
            for _ in 0..AT_ONCE {
                match recv(&self.0, &mut message, RecvFlags::TRUNC) {
                    Ok((read, _)) => has_changed |= is_change(&message[..read]),
                    // More than the socket holds.
                    Err(Errno::NOBUFS) => has_changed = true,
                    Err(Errno::INTR) => {}
                    Err(_) => break,
                }
            }
            has_changed
        }
    }

    impl AsFd for RouteWatch {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    /// Everything but what a device says of itself without a flag that has changed.
    fn is_change(message: &[u8]) -> bool {
        let kind = message.get(TYPE_AT..TYPE_AT + 2);
        let is_link = kind == Some(&NEW_LINK.to_ne_bytes()[..]);
        !is_link || message.get(CHANGED_AT..CHANGED_AT + 4) != Some(&[0; 4][..])
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn p72_what_a_device_says_of_itself_is_no_change() {
            let mut message = [0; 32];
            message[TYPE_AT..TYPE_AT + 2].copy_from_slice(&NEW_LINK.to_ne_bytes());
            assert!(!is_change(&message));
            message[CHANGED_AT] = 1;
            assert!(is_change(&message));
            assert!(is_change(&[0; 32]), "a route or an address");
            assert!(is_change(&[]), "whatever it is");
        }

        #[test]
        fn p72_routes_are_watched_without_privileges_and_quiet_at_first() {
            if let Some(watch) = RouteWatch::open() {
                while watch.take_change() {}
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::os::fd::{AsFd, BorrowedFd};

    /// Cannot be had.
    #[derive(Debug)]
    pub(in super::super) enum RouteWatch {}

    impl RouteWatch {
        pub(in super::super) const fn open() -> Option<Self> {
            None
        }

        pub(in super::super) const fn take_change(&self) -> bool {
            match *self {}
        }
    }

    impl AsFd for RouteWatch {
        fn as_fd(&self) -> BorrowedFd<'_> {
            match *self {}
        }
    }
}
