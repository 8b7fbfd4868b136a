//! Two guests and the cable between them. It is a pair of sockets within this machine, carries nothing else, and can be
//! pulled out and put back.

use std::net::Ipv4Addr;
use std::thread;

use anyhow::{Context, Result, anyhow};

use crate::guest::Guest;
use crate::host::Host;
use crate::machine::{self, Machine, Options, Plug};
use crate::recipe::ZfsVersion;

/// Where the guests find each other.
pub(crate) const SENDER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(crate) const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// Two guests that reach each other and nobody else.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) sender: Machine,
    pub(crate) receiver: Machine,
}

impl Pair {
    /// Boots both at the same time. They may have different versions and options; the latter's plug is made here.
    pub(crate) fn boot(
        host: &Host,
        sender: (ZfsVersion, Options),
        receiver: (ZfsVersion, Options),
    ) -> Result<Self> {
        let directories = [
            machine::temporary_directory()?,
            machine::temporary_directory()?,
        ];
        let boot =
            |(version, mut options): (ZfsVersion, Options), own: usize, address: Ipv4Addr| {
                options.plug = Some(Plug {
                    own: directories[own].clone(),
                    other: directories[1 - own].clone(),
                    number: address.octets()[3],
                });
                let machine = host.boot(version, &options)?;
                machine
                    .guest()
                    .script(&format!(
                        "ip address add {address}/24 dev eth0; ip link set eth0 up"
                    ))?
                    .ok()?;
                anyhow::Ok(machine)
            };
        thread::scope(|scope| {
            let sender = scope.spawn(|| boot(sender, 0, SENDER));
            let receiver = boot(receiver, 1, RECEIVER);
            let sender = sender
                .join()
                .map_err(|_| anyhow!("booting the sender's guest panicked"))?;
            let pair = Self {
                sender: sender?,
                receiver: receiver?,
            };
            pair.wait_for_link()?;
            Ok(pair)
        })
    }

    pub(crate) fn sender(&self) -> &Guest {
        self.sender.guest()
    }

    pub(crate) fn receiver(&self) -> &Guest {
        self.receiver.guest()
    }

    /// Pulls the cable. Neither side is told more than that its card has no carrier.
    pub(crate) fn cut(&self) -> Result<()> {
        self.plug_in(false)
            .context("cannot cut the link between the guests")
    }

    /// Puts the cable back and waits until frames arrive.
    pub(crate) fn restore(&self) -> Result<()> {
        self.plug_in(true)
            .context("cannot restore the link between the guests")?;
        self.wait_for_link()
    }

    fn plug_in(&self, plugged: bool) -> Result<()> {
        self.sender.plug_in(plugged)?;
        self.receiver.plug_in(plugged)
    }

    fn wait_for_link(&self) -> Result<()> {
        self.sender()
            .script(&format!(
                "for try in 1 2 3 4 5 6 7 8 9 10; do
                     ping -c 1 -W 2 {RECEIVER} >/dev/null && exit 0
                     sleep 1
                 done
                 echo 'the guests do not see each other'; ip address; exit 1"
            ))?
            .ok()?;
        Ok(())
    }
}
