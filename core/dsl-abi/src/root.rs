//! The root module: the one thing that a host looks up in a plugin file.

use abi_stable::{
    StableAbi,
    library::{
        __call_root_module_loader, CheckTypeLayout, LibHeader, RootModule, RootModuleResult,
    },
    prefix_type::PrefixTypeTrait,
    sabi_types::VersionStrings,
    std_types::{ROption, RStr, RString},
};

use crate::Extension;

/// Version of the root module alone. While the major number is 0 it is a draft.
pub const ROOT_MODULE_VERSION: &str = "0.1.0";

/// Name of the symbol that a plugin file exports, which `abi_stable` fixes. A file without it is not a plugin.
pub const ENTRY_SYMBOL: &str = "_1as_0lib_1header_0root_bmodule_bloader";

/// The root module. Frozen: everything else is reached through `extension`.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRef)))]
#[sabi(missing_field(panic))]
pub struct Plugin {
    /// `[any thread]` JSON of [`crate::declare::Manifest`]. Never fails and does no work.
    pub manifest: extern "C" fn() -> RString,
    /// `[any thread]` The interface of that id, or nothing when the plugin does not offer it. Does no work.
    #[sabi(last_prefix_field)]
    pub extension: extern "C" fn(id: RStr<'_>) -> ROption<Extension>,
}

impl RootModule for PluginRef {
    abi_stable::declare_root_module_statics! {PluginRef}
    const BASE_NAME: &'static str = "dsl_plugin";
    const NAME: &'static str = "dsl_plugin";
    const VERSION_STRINGS: VersionStrings = VersionStrings::new(ROOT_MODULE_VERSION);
}

/// What a library must offer to be a plugin. `dsl-sdk` implements it for every task.
pub trait Entry: 'static {
    /// See [`Plugin::manifest`].
    extern "C" fn manifest() -> RString;
    /// See [`Plugin::extension`].
    extern "C" fn extension(id: RStr<'_>) -> ROption<Extension>;
}

/// The header that a plugin file exports under [`ENTRY_SYMBOL`].
pub const fn header<E: Entry>() -> LibHeader {
    extern "C" fn root<E: Entry>() -> RootModuleResult {
        fn build<E: Entry>() -> PluginRef {
            Plugin {
                manifest: E::manifest,
                extension: E::extension,
            }
            .leak_into_prefix()
        }
        __call_root_module_loader(build::<E>)
    }
    // SAFETY: `root` returns the root module of exactly the type named here.
    unsafe { LibHeader::from_constructor::<PluginRef>(root::<E>, CheckTypeLayout::Yes) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_entry_symbol_is_the_one_of_the_library_beneath() {
        assert_eq!(
            abi_stable::library::ROOT_MODULE_LOADER_NAME,
            super::ENTRY_SYMBOL
        );
    }
}
