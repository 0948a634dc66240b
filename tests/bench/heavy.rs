//! An image that is heavy to pull, and a registry for each engine that has it.

use std::path::{Path, PathBuf};

use harness::{
    Engine,
    image::{Form, Image, Layer},
    registry::Registry,
};

/// What it is called.
pub const NAME: &str = "127.0.0.1:5001/bench/heavy";
/// Layers, files in each, and bytes in each file: 200 MB.
const LAYERS: u64 = 8;
const FILES: u64 = 250;
const BYTES: usize = 100_000;

/// The registries; they end, and the image goes, when this is dropped.
#[derive(Debug)]
pub struct Heavy {
    storage: PathBuf,
    registries: Vec<Registry>,
}

impl Heavy {
    /// Builds the image and serves it to the engines.
    ///
    /// # Panics
    /// When the disk is full.
    pub fn serve(engines: &[&Engine]) -> Heavy {
        let storage = Path::new("/var/tmp").join(format!("podctl-bench-{}", std::process::id()));
        image().published(Form::Oci).store(&storage, "bench/heavy", "latest").expect("storage");
        let registries = engines.iter().map(|engine| Registry::serve(&engine.enclosure, 5001, &storage)).collect();
        Heavy { storage, registries }
    }
}

impl Drop for Heavy {
    fn drop(&mut self) {
        self.registries.clear();
        // A bench that panics leaves no more than it must.
        let _as_far_as_possible = std::fs::remove_dir_all(&self.storage);
    }
}

fn image() -> Image {
    (0..LAYERS).fold(Image::new(), |image, layer| {
        let directory = format!("layer{layer}");
        let files = (0..FILES).fold(Layer::new().directory(&directory), |files, file| {
            files.file(&format!("{directory}/{file}"), 0o644, content(layer * FILES + file))
        });
        image.layer(files)
    })
}

/// Half noise and half what compresses well, as programs are.
fn content(seed: u64) -> Vec<u8> {
    let mut state = seed + 1;
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(BYTES / 2)
    .collect();
    bytes.resize(BYTES, b'x');
    bytes
}
