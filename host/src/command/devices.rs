//! `dsl-host devices`: what `device` in a configuration can be on this machine.

use std::io::{self, Write};

use crate::device::{DeviceEntry, DeviceList, list_devices};
use crate::run_dir::describe_bytes;

/// List the devices of this machine
///
/// Shows what `device` in a configuration can be here, with the memory and the types of numbers
/// that each computes in, and the cargo features that add further ones.
#[derive(Debug, Clone, clap::Args)]
pub struct DevicesArgs {
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// Lists the devices on `out`.
///
/// # Errors
/// Those of `out`.
pub fn devices(args: &DevicesArgs, out: &mut dyn Write) -> io::Result<()> {
    let list = list_devices();
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &list)?;
        writeln!(out)
    } else {
        write_table(&list, out)
    }
}

fn write_table(list: &DeviceList, out: &mut dyn Write) -> io::Result<()> {
    let header = ["device", "name", "memory", "computes in"].map(String::from);
    let rows: Vec<[String; 4]> = std::iter::once(header)
        .chain(list.devices.iter().map(row))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths = [0, 1, 2].map(|column| width(column).unwrap_or(0));
    for [device, name, memory, dtypes] in &rows {
        let [a, b, c] = widths;
        writeln!(out, "{device:a$}  {name:b$}  {memory:c$}  {dtypes}")?;
    }
    for entry in &list.devices {
        if let Some(problem) = &entry.problem {
            writeln!(out, "\n{}: {problem}", entry.device)?;
        }
    }
    if !list.not_built.is_empty() {
        writeln!(
            out,
            "\nnot in this program: {}\nhint: `cargo build --release --package dsl-host --features {}` adds them",
            list.not_built.join(", "),
            list.not_built.join(","),
        )?;
    }
    Ok(())
}

fn row(entry: &DeviceEntry) -> [String; 4] {
    let or_dash = |text: String| if text.is_empty() { "-".into() } else { text };
    [
        entry.device.to_string(),
        or_dash(entry.name.clone()),
        or_dash(entry.memory_bytes.map(describe_bytes).unwrap_or_default()),
        or_dash(entry.dtypes.join(" ")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceSelector;

    #[test]
    fn the_table_lines_up() {
        let list = DeviceList {
            devices: vec![
                DeviceEntry {
                    device: DeviceSelector::Cpu,
                    name: "Some processor, 2 threads".into(),
                    memory_bytes: Some(8_000_000_000),
                    dtypes: vec!["bf16", "f32"],
                    problem: None,
                },
                DeviceEntry {
                    device: DeviceSelector::Cuda(0),
                    name: "NVIDIA H200".into(),
                    memory_bytes: None,
                    dtypes: vec![],
                    problem: Some("no context".into()),
                },
            ],
            not_built: vec!["tch", "vulkan"],
        };
        let mut out = Vec::new();
        write_table(&list, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "device  name                       memory  computes in\n\
             cpu     Some processor, 2 threads  8.0 GB  bf16 f32\n\
             cuda:0  NVIDIA H200                -       -\n\
             \n\
             cuda:0: no context\n\
             \n\
             not in this program: tch, vulkan\n\
             hint: `cargo build --release --package dsl-host --features tch,vulkan` adds them\n"
        );
    }

    #[test]
    fn json_is_json() {
        let mut out = Vec::new();
        devices(&DevicesArgs { json: true }, &mut out).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["devices"][0]["device"], "cpu");
        assert!(value["devices"][0]["dtypes"].is_array());
    }
}
