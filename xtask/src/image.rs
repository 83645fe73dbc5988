//! Takes a kernel package apart: the kernel as the ELF file that it is before it is packed, and the modules without
//! which there is no file system.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::hint::program;

/// What has to be there before the host's files are; what is no module is built in.
const MODULES: &[&str] = &["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"];

/// The ELF file in a bzImage, which boots faster: the guest does not have to unpack it.
pub fn unpacked_kernel(image: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    let kernel = decompressed(payload(&bytes).with_context(|| format!("no kernel: {}", image.display()))?)?;
    ensure!(kernel.starts_with(b"\x7fELF"), "not an ELF file in {}", image.display());
    Ok(kernel)
}

/// The compressed part, by the header that boot loaders read (Documentation/arch/x86/boot.rst).
fn payload(image: &[u8]) -> Result<&[u8]> {
    let word = |at: usize| -> Result<usize> {
        let bytes = image.get(at..at + 4).context("too short")?;
        Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    ensure!(image.get(0x202..0x206) == Some(b"HdrS"), "no bzImage");
    let sectors = usize::from(image[0x1f1]) + 1;
    let start = sectors * 512 + word(0x248)?;
    // The length counts four bytes of the build's own, the size when unpacked.
    let end = (start + word(0x24c)?).checked_sub(4).context("too short")?;
    image.get(start..end).context("too short")
}

fn decompressed(bytes: &[u8]) -> Result<Vec<u8>> {
    let tool = match bytes {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "xz",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [0x1f, 0x8b, ..] => "gzip",
        [0x7f, b'E', b'L', b'F', ..] => return Ok(bytes.to_vec()),
        _ => bail!("compressed in an unknown way: {:02x?}", &bytes[..bytes.len().min(6)]),
    };
    let mut packed = tempfile::tempfile().context("cannot make a temporary file")?;
    packed.write_all(bytes)?;
    packed.seek(SeekFrom::Start(0))?;
    unpack(tool, packed)
}

fn unpack(tool: &str, packed: File) -> Result<Vec<u8>> {
    let output = Command::new(program(tool)?)
        .arg("-dc")
        .stdin(packed)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {tool}"))?;
    ensure!(output.status.success(), "{tool} -dc failed");
    Ok(output.stdout)
}

/// The modules that are needed, in the order in which they load: name and content.
pub fn modules(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = BTreeMap::new();
    find(folder, &mut files)?;
    let mut all = Vec::new();
    for name in MODULES {
        with_dependencies(name, &files, &mut all)?;
    }
    Ok(all)
}

fn with_dependencies(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    all: &mut Vec<(String, Vec<u8>)>,
) -> Result<()> {
    let Some(file) = files.get(name) else { return Ok(()) };
    if all.iter().any(|(other, _)| other == name) {
        return Ok(());
    }
    let packed = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let module = decompressed(&packed).with_context(|| format!("cannot unpack {}", file.display()))?;
    for dependency in dependencies(&module) {
        with_dependencies(&dependency, files, all)?;
    }
    all.push((name.to_owned(), module));
    Ok(())
}

/// What it says itself (`modinfo`): names, with underscores.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module[at + KEY.len()..].split(|b| *b == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value).replace('-', "_");
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn find(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            find(&entry.path(), files)?;
        } else if let Some((name, _)) = entry.file_name().to_string_lossy().split_once(".ko") {
            files.insert(name.replace('-', "_"), entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{dependencies, payload};

    #[test]
    fn a_module_says_what_it_needs() {
        assert_eq!(
            dependencies(b"\x7fELF\0license=GPL\0depends=9pnet,net-fs\0name=9p\0"),
            ["9pnet", "net_fs"]
        );
        assert!(dependencies(b"\0depends=\0").is_empty());
        assert!(dependencies(b"").is_empty());
    }

    #[test]
    fn the_payload_is_where_the_header_says() {
        let mut image = vec![0; 1100];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248] = 6;
        image[0x24c] = 9;
        image[1030..1039].copy_from_slice(b"12345size");
        assert_eq!(payload(&image).unwrap(), b"12345");
        image[0x24c] = 200;
        assert!(payload(&image).is_err());
        assert!(payload(b"MZ").is_err());
    }
}
