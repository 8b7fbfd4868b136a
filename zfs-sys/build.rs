//! Binds libzfs_core when the feature `native` is on; does nothing without it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "native")]
    native::bind();
}

#[cfg(feature = "native")]
mod native {
    use std::path::{Path, PathBuf};

    /// What a build host without the development files must install.
    const ADVICE: &str = "the feature `native` needs the headers of libzfs_core and libclang \
        (Debian, component contrib: apt-get install libzfslinux-dev libclang-dev pkg-config; \
        `cargo vm setup` does it); or build with --no-default-features to use zfs(8) only";

    pub(super) fn bind() {
        println!("cargo:rerun-if-changed=wrapper.h");
        let include_paths = if cfg!(target_os = "freebsd") {
            // Base system: no .pc files, headers under /usr/include (see libzfs-core notes §8.1).
            println!("cargo:rustc-link-lib=zfs_core");
            println!("cargo:rustc-link-lib=nvpair");
            Vec::new()
        } else {
            match pkg_config::Config::new().probe("libzfs_core") {
                Ok(library) => library.include_paths,
                Err(error) => panic!("libzfs_core not found: {ADVICE}\n{error}"),
            }
        };
        let bindings = bindgen::Builder::default()
            .header("wrapper.h")
            // The order pkg-config gives matters: libspl shadows system headers by include_next.
            .clang_args(
                include_paths
                    .iter()
                    .map(|path| format!("-I{}", path.display())),
            )
            .allowlist_function(LINKED)
            .allowlist_type("lzc_send_flags|lzc_dataset_type")
            // Pointers must unify with those of nvpair-sys, so its types are used throughout.
            .blocklist_type("nvlist.*|nvpair.*|data_type_t|boolean_t")
            .raw_line("use nvpair_sys::{boolean_t::Type as boolean_t, nvlist_t};")
            .default_enum_style(bindgen::EnumVariation::Consts)
            .prepend_enum_name(false)
            .layout_tests(true)
            .generate();
        let bindings = match bindings {
            Ok(bindings) => bindings,
            Err(error) => panic!("bindgen: {error}\n{ADVICE}"),
        };
        let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
        bindings
            .write_to_file(Path::new(&out).join("libzfs_core.rs"))
            .expect("OUT_DIR is writable");
    }

    /// The functions bound at link time: those that OpenZFS 2.1 exports and that we call. Newer ones are looked up at
    /// run time (`optional.rs`), so that one binary runs on 2.1 and later.
    const LINKED: &str = "libzfs_core_(init|fini)\
        |lzc_(snapshot|destroy_snaps|destroy|bookmark|get_bookmarks|get_bookmark_props|destroy_bookmarks\
        |hold|release|get_holds|exists|send_resume_redacted|send_space_resume_redacted|receive_with_cmdprops\
        |create|rename|rollback_to|channel_program|channel_program_nosync)";
}
