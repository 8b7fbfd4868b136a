//! What is known of one native property, and how to look properties up.

use super::dialect::{Dialect, Since, ZfsVersion};
use super::index::{IndexTable, IndexValue};
use super::table::TABLE;

/// What a property is asked of.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DatasetType {
    /// A filesystem.
    Filesystem,
    /// A zvol.
    Volume,
    /// A snapshot of either.
    Snapshot,
    /// A bookmark of either.
    Bookmark,
}

impl DatasetType {
    /// The name zfs(8) uses, also the value of property `type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filesystem => "filesystem",
            Self::Volume => "volume",
            Self::Snapshot => "snapshot",
            Self::Bookmark => "bookmark",
        }
    }

    const fn bit(self) -> Kinds {
        match self {
            Self::Filesystem => kinds::F,
            Self::Volume => kinds::V,
            Self::Snapshot => kinds::S,
            Self::Bookmark => kinds::B,
        }
    }
}

/// Where a reader gets the value from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Provenance {
    /// The property nvlist of the kernel's listing and stats calls (and for bookmarks, of the
    /// bookmark calls). Absent there means default or not applicable.
    ///
    /// For bookmarks `redact_snaps` has to be asked for by name in the list call
    /// (`ZFS_IOC_GET_BOOKMARKS`); the call for one bookmark never has it.
    ///
    /// `clones` is absent as well when the list was too long for the kernel; then libzfs walks
    /// the whole pool, and we do not.
    Stats,
    /// Name and type of the object: no call needed.
    Identity,
    /// The fixed part of the stats reply (`dmu_objset_stats_t`), which has no nvlist entry.
    ObjsetStats,
    /// The separate `ZFS_IOC_OBJSET_ZPLPROPS` call, on filesystems and their snapshots.
    ZplProps,
    /// The mount table of the system; the kernel's property calls do not know it.
    MountTable,
}

/// One native property of OpenZFS 2.1 to 2.4.
#[derive(Debug)]
pub struct NativeProperty {
    name: &'static str,
    class: Class,
    kinds: Kinds,
    /// Kinds added by a later release.
    more_kinds: Option<(ZfsVersion, Kinds)>,
    pub(super) form: Form,
    pub(super) fallback: Fallback,
    since: Since,
    hidden: bool,
    mount_option: bool,
    provenance: Provenance,
}

impl NativeProperty {
    /// Looks a property up by its full name. Short column names (`refer`) are not known.
    pub fn find(name: &str) -> Option<&'static Self> {
        TABLE.iter().find(|property| property.name == name)
    }

    /// The name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether this ZFS has the property at all.
    pub const fn exists_in(&self, dialect: Dialect) -> bool {
        dialect.has(self.since)
    }

    /// Whether the property means anything for objects of this type.
    ///
    /// For a snapshot the answer must also hold for the dataset it belongs to, see
    /// [`Self::applies_to_snapshot_of`].
    pub const fn applies_to(&self, dataset_type: DatasetType, dialect: Dialect) -> bool {
        let more = match self.more_kinds {
            Some((version, kinds)) if dialect.version.at_least(version) => kinds,
            _ => 0,
        };
        self.exists_in(dialect) && (self.kinds | more) & dataset_type.bit() != 0
    }

    /// Whether zfs(8) shows the property on snapshots of a `head`.
    ///
    /// Numbers and index values need to apply to the head as well, unless they are for snapshots
    /// only; strings do not.
    pub fn applies_to_snapshot_of(&self, head: DatasetType, dialect: Dialect) -> bool {
        self.applies_to(DatasetType::Snapshot, dialect)
            && (matches!(self.form, Form::Text)
                || self.kinds == kinds::S
                || self.applies_to(head, dialect))
    }

    /// Whether the user can never choose the value.
    pub const fn is_read_only(&self) -> bool {
        matches!(self.class, Class::ReadOnly)
    }

    /// Whether the value can be chosen at creation only.
    pub const fn is_set_once(&self) -> bool {
        matches!(self.class, Class::Once | Class::OnceOwn)
    }

    /// Whether the value can be changed on an existing dataset.
    pub const fn is_settable(&self) -> bool {
        matches!(self.class, Class::Inherited | Class::Own)
    }

    /// Whether children take the value over from their parent.
    pub const fn is_inheritable(&self) -> bool {
        matches!(self.class, Class::Inherited | Class::Once)
    }

    /// Whether it describes the wrapping key, together with `encryption` itself: such properties
    /// have rules of their own at receive.
    pub fn is_encryption_parameter(&self) -> bool {
        matches!(
            self.name,
            "encryption" | "keyformat" | "pbkdf2iters" | "pbkdf2salt"
        )
    }

    /// Whether `zfs get all` leaves it out.
    pub const fn is_hidden(&self) -> bool {
        self.hidden
    }

    /// Whether a mount with a contrary option makes zfs(8) print the option with source
    /// `temporary`. We print the property's own value, which is what replication is about.
    pub const fn is_mount_option(&self) -> bool {
        self.mount_option
    }

    /// Where the value comes from.
    pub const fn provenance(&self) -> Provenance {
        self.provenance
    }

    /// The values of an index property in this ZFS; of those with the same number the first is
    /// the printed one. `None` for numbers and strings.
    pub fn values(&self, dialect: Dialect) -> Option<impl Iterator<Item = &'static IndexValue>> {
        let Form::Index(table) = self.form else {
            return None;
        };
        Some(
            table(dialect)
                .iter()
                .filter(move |value| value.exists_in(dialect)),
        )
    }
}

/// Every native property, visible or hidden, of all supported releases and platforms.
pub fn all_native() -> impl Iterator<Item = &'static NativeProperty> {
    TABLE.iter()
}

/// Who chooses the value, and whether children see it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Class {
    /// Settable, inherited by children.
    Inherited,
    /// Settable, not inherited.
    Own,
    /// Computed by ZFS.
    ReadOnly,
    /// Chosen at creation, inherited by datasets created below.
    Once,
    /// Chosen at creation, not inherited.
    OnceOwn,
}

/// How the kernel holds the value and how it is printed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// A number printed in full.
    Number,
    /// Hundredths, printed with two decimals.
    Ratio,
    /// A count where the largest number is no limit.
    Limit,
    /// A number that stands for a name.
    Index(fn(Dialect) -> IndexTable),
    /// A string.
    Text,
}

/// What zfs(8) prints, with source `default`, when the kernel has no entry.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fallback {
    /// `-`
    Nothing,
    Number(u64),
    /// Depends on release or platform.
    Varying(fn(Dialect) -> u64),
    Text(&'static str),
}

/// A set of dataset types.
pub(super) type Kinds = u8;

/// Sets of types the table uses, named after their letters.
pub(super) mod kinds {
    use super::Kinds;

    pub(in super::super) const F: Kinds = 1;
    pub(in super::super) const V: Kinds = 2;
    pub(in super::super) const S: Kinds = 4;
    pub(in super::super) const B: Kinds = 8;
    pub(in super::super) const FV: Kinds = F | V;
    pub(in super::super) const FS: Kinds = F | S;
    pub(in super::super) const VS: Kinds = V | S;
    pub(in super::super) const FVS: Kinds = F | V | S;
    pub(in super::super) const FVSB: Kinds = F | V | S | B;
}

/// Builders for the table.
impl NativeProperty {
    const fn new(name: &'static str, class: Class, kinds: Kinds, form: Form) -> Self {
        Self {
            name,
            class,
            kinds,
            more_kinds: None,
            form,
            fallback: Fallback::Nothing,
            since: Since::ALWAYS,
            hidden: false,
            mount_option: false,
            provenance: Provenance::Stats,
        }
    }

    pub(super) const fn index(
        name: &'static str,
        class: Class,
        kinds: Kinds,
        table: fn(Dialect) -> IndexTable,
    ) -> Self {
        Self::new(name, class, kinds, Form::Index(table))
    }

    pub(super) const fn number(name: &'static str, class: Class, kinds: Kinds) -> Self {
        Self::new(name, class, kinds, Form::Number)
    }

    pub(super) const fn ratio(name: &'static str, kinds: Kinds) -> Self {
        Self::new(name, Class::ReadOnly, kinds, Form::Ratio)
    }

    pub(super) const fn limit(name: &'static str, class: Class, kinds: Kinds) -> Self {
        Self::new(name, class, kinds, Form::Limit).default(u64::MAX)
    }

    pub(super) const fn text(name: &'static str, class: Class, kinds: Kinds) -> Self {
        Self::new(name, class, kinds, Form::Text)
    }

    pub(super) const fn default(mut self, number: u64) -> Self {
        self.fallback = Fallback::Number(number);
        self
    }

    pub(super) const fn default_varies(mut self, number: fn(Dialect) -> u64) -> Self {
        self.fallback = Fallback::Varying(number);
        self
    }

    pub(super) const fn default_text(mut self, text: &'static str) -> Self {
        self.fallback = Fallback::Text(text);
        self
    }

    pub(super) const fn since(mut self, since: Since) -> Self {
        self.since = since;
        self
    }

    pub(super) const fn and_since(
        mut self,
        kinds: Kinds,
        major: u16,
        minor: u16,
        patch: u16,
    ) -> Self {
        self.more_kinds = Some((ZfsVersion::new(major, minor, patch), kinds));
        self
    }

    pub(super) const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    pub(super) const fn mount_option(mut self) -> Self {
        self.mount_option = true;
        self
    }

    pub(super) const fn from(mut self, provenance: Provenance) -> Self {
        self.provenance = provenance;
        self
    }
}
