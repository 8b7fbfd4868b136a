//! A host that is ready to run guests: packages installed, images in the cache, acceleration known.

use anyhow::{Context, Result};

use crate::accel::Acceleration;
use crate::image::{self, Image};
use crate::machine::{Machine, Options};
use crate::packages::{self, Purpose};
use crate::recipe::ZfsVersion;

#[derive(Debug)]
pub(crate) struct Host {
    images: Vec<Image>,
    acceleration: Acceleration,
}

impl Host {
    /// Does whatever is missing, so that every command works on a fresh machine.
    pub(crate) fn prepare(purpose: Purpose, versions: &[ZfsVersion]) -> Result<Self> {
        packages::ensure(purpose)?;
        let images = image::ensure(versions)?;
        let first = images.first().context("no OpenZFS version was asked for")?;
        let acceleration = Acceleration::of_host(first)?;
        Ok(Self {
            images,
            acceleration,
        })
    }

    pub(crate) fn images(&self) -> &[Image] {
        &self.images
    }

    /// The image of this version, built now if nobody has said before that it is needed.
    pub(crate) fn image(&self, version: ZfsVersion) -> Result<Image> {
        if let Some(image) = self.images.iter().find(|image| image.version == version) {
            return Ok(image.clone());
        }
        image::ensure(&[version])?
            .pop()
            .with_context(|| format!("there is no image for OpenZFS {version}"))
    }

    pub(crate) fn boot(&self, version: ZfsVersion, options: &Options) -> Result<Machine> {
        Machine::boot(&self.image(version)?, self.acceleration, options)
    }
}
