//! A pool of one backend, with a root dataset for each case. All roots are made at once, because each alone would wait for a transaction
//! group; and always natively, whatever is tested later, because a process takes a tenth of a second under emulation.

use std::error::Error;
use std::sync::Arc;
use std::thread;

use zfs_safe::name::DatasetPath;
use zfs_safe::zfs::Zfs;
use zrepl_daemon::zfs_backend::{self, Choice};

use crate::case::Case;
use crate::set_up::shell;

/// Where everything is that is no dataset.
pub(crate) const FOLDER: &str = "/tmp/platform";

/// The key of encrypted datasets.
pub(crate) const KEY: &str = "/tmp/platform/key";

#[derive(Debug)]
pub(crate) struct Pool {
    name: String,
    /// What is tested.
    zfs: Arc<dyn Zfs>,
    /// What sets up and looks.
    tools: Arc<dyn Zfs>,
}

impl Pool {
    /// Makes the pool of a backend, for so many cases.
    pub(crate) fn make(backend: &str, cases: usize) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let name = format!("pt-{backend}");
        shell(&format!(
            "set -e; mkdir -p {FOLDER}; head -c 32 /dev/urandom >{KEY}; truncate -s 2G {FOLDER}/{name}.img; \
             zpool create -O mountpoint=legacy -O compression=off -O recordsize=16K {name} {FOLDER}/{name}.img"
        ))?;
        let open = |backend| {
            Ok::<_, Box<dyn Error + Send + Sync>>(
                zfs_backend::open(Choice::parse(Some(backend))?)?.zfs,
            )
        };
        let pool = Self {
            zfs: open(backend)?,
            tools: open("native")?,
            name,
        };
        let roots: Vec<_> = (0..cases).map(|index| pool.root(index)).collect();
        pool.create(&roots, "")?;
        pool.create(&roots, "/receiver")?;
        pool.create(&roots, &format!("/receiver/{}", pool.name))?;
        pool.create_each(roots.iter().map(|root| format!("{root}/receiver/{root}")))?;
        Ok(pool)
    }

    fn root(&self, index: usize) -> String {
        format!("{}/c{index:02}", self.name)
    }

    fn create(&self, roots: &[String], below: &str) -> zfs_safe::Result<()> {
        self.create_each(roots.iter().map(|root| format!("{root}{below}")))
    }

    /// Creates datasets, all in the same few transaction groups.
    fn create_each(&self, names: impl Iterator<Item = String>) -> zfs_safe::Result<()> {
        thread::scope(|scope| {
            let creating: Vec<_> = names
                .map(|name| {
                    scope.spawn(move || {
                        let path = DatasetPath::new(name).expect("made of valid parts");
                        self.tools.create_filesystem(&path, &[])
                    })
                })
                .collect();
            creating
                .into_iter()
                .try_for_each(|it| it.join().expect("creating does not panic"))
        })
    }

    /// The case of this number.
    pub(crate) fn case(&self, index: usize) -> Result<Case, Box<dyn Error + Send + Sync>> {
        Case::new(
            Arc::clone(&self.zfs),
            Arc::clone(&self.tools),
            self.root(index),
        )
    }
}
