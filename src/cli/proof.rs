//! `consentry audit proof|check|tiles`: evidence of the decision log to hand over, and its check without a gateway.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::audit::{Place, decision_id, unreadable};
use super::client::segment;
use super::{Exit, Failure, Output};
use crate::audit::{self, AuditError, TileName, Tiles};
use crate::console::{self, Trust, is_pack};

#[derive(Debug, clap::Args)]
pub(super) struct ProofArgs {
    /// `<origin>#<index>` or the index alone.
    id: String,
    /// Where the proof is written; standard output without it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// A `.tlog-proof`, or the `.zip` of `audit report consent-evidence --pack`.
    file: PathBuf,
    /// The log's verifier key, from a source that you trust; behind it what `audit verify --rotations-out` wrote, once it was replaced.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The verifier key of a witness that must have seen it.
    #[arg(long, value_name = "FILE")]
    witness: Option<PathBuf>,
    /// The keys of receipts (`/.well-known/jwks.json` of the gateway), from a source that you trust: who signed the pack.
    #[arg(long, value_name = "FILE")]
    receipt_keys: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct TilesArgs {
    /// The log's folder.
    dir: PathBuf,
    /// The folder that is written; of one that was written before, only what is new.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) fn proof(output: &Output, args: &ProofArgs) -> Result<Exit, Failure> {
    let (origin, index) = decision_id(&args.id)?;
    let text = match &args.place.offline {
        Some(dir) => {
            let failed = |error: AuditError| {
                if let AuditError::Pruned { .. } = error { Failure::new(Exit::NotFound, error.to_string()) } else { unreadable(dir, &error) }
            };
            let proved = Tiles::new(dir).prove(index).map_err(failed)?;
            proved.ok_or_else(|| Failure::new(Exit::NotFound, format!("the checkpoint in `{}` covers no entry {index}", dir.display())))?.evidence()
        }
        None => {
            let bytes = args.place.server.connect()?.fetch(&format!("/v1/decisions/{}/{index}/proof", segment(&origin)))?;
            String::from_utf8(bytes.to_vec())
                .map_err(|_binary| Failure::new(Exit::Internal, "the answer is no proof; is this the admin listener?"))?
        }
    };
    match &args.out {
        Some(file) => {
            fs::write(file, &text).map_err(|error| Failure::new(Exit::Internal, format!("cannot write `{}`: {error}", file.display())))?;
            output.answer(&json!({ "index": index, "file": file }), || format!("proof of entry {index} · {}", file.display()))
        }
        None => output.answer(&json!({ "index": index, "proof": text }), || text.trim_end().to_owned()),
    }
}

pub(super) fn check(output: &Output, args: &CheckArgs) -> Result<Exit, Failure> {
    let key = read(&args.key)?;
    let witness = args.witness.as_deref().map(read).transpose()?;
    let bytes = fs::read(&args.file).map_err(|error| Failure::new(Exit::NotFound, format!("cannot read `{}`: {error}", args.file.display())))?;
    if is_pack(&bytes) {
        return check_pack(output, &bytes, args, key.trim(), witness.as_deref().map(str::trim));
    }
    if args.receipt_keys.is_some() {
        return Err(Failure::usage(format!("`--receipt-keys` is for packs, and `{}` is none", args.file.display())));
    }
    let proof = String::from_utf8(bytes).map_err(|_binary| Failure::new(Exit::CheckFailed, "this is neither a proof nor a pack"))?;
    let checked = match audit::check_proof(key.trim(), &proof, witness.as_deref().map(str::trim)) {
        Ok(checked) => checked,
        Err(why) => {
            output.answer(&json!({ "ok": false, "fault": why.to_string() }), || format!("not proved · {why}"))?;
            return Ok(Exit::CheckFailed);
        }
    };
    let leaf: String = checked.leaf.iter().map(|byte| format!("{byte:02x}")).collect();
    let entry: Option<Value> = checked.entry.as_deref().map(|bytes| serde_json::from_slice(bytes).unwrap_or_default());
    let document = json!({ "ok": true, "origin": checked.origin, "index": checked.index, "size": checked.size, "leaf": leaf, "entry": entry,
        "witnessed_at": checked.witnessed_at.map(|at| at.to_string()) });
    output.answer(&document, || {
        let size = checked.size;
        let what = match &entry {
            Some(entry) => entry.to_string(),
            None => format!("the proof holds only its hash, {leaf}; an auditor of the log can show the entry"),
        };
        let seen = checked.witnessed_at.map(|at| format!(", seen by the witness at {at}")).unwrap_or_default();
        format!("proved · entry {} of {} is in the log that the checkpoint over {size} entries signs{seen}\n\n{what}", checked.index, checked.origin)
    })
}

fn check_pack(output: &Output, bytes: &[u8], args: &CheckArgs, vkey: &str, witness: Option<&str>) -> Result<Exit, Failure> {
    let receipt_keys: Option<Value> = match &args.receipt_keys {
        Some(file) => Some(serde_json::from_str(&read(file)?).map_err(|error| Failure::usage(format!("`{}` is no JSON: {error}", file.display())))?),
        None => None,
    };
    let held = match console::check_pack(bytes, &Trust { vkey, witness, receipt_keys: receipt_keys.as_ref() }) {
        Ok(held) => held,
        Err(why) => {
            output.answer(&json!({ "ok": false, "fault": why.to_string() }), || format!("not as it was packed · {why}"))?;
            return Ok(Exit::CheckFailed);
        }
    };
    let faults = held.iter().filter(|item| item.said.is_err()).count();
    let items: Vec<Value> = held
        .iter()
        .map(|item| match &item.said {
            Ok(said) => json!({ "what": item.what, "ok": true, "said": said }),
            Err(said) => json!({ "what": item.what, "ok": false, "said": said }),
        })
        .collect();
    output.answer(&json!({ "ok": faults == 0, "items": items }), || {
        // Nothing of it is cut: it is what a reader has to rely on.
        let width = held.iter().map(|item| item.what.chars().count()).max().unwrap_or_default();
        let lines = held.iter().map(|item| {
            let (sign, said) = match &item.said {
                Ok(said) => ('✓', said),
                Err(said) => ('✗', said),
            };
            format!("{sign} {:<width$}  {}", visible(&item.what), visible(said))
        });
        let lines = lines.collect::<Vec<_>>().join("\n");
        let end = match faults {
            0 if receipt_keys.is_none() => "everything in it holds; who made it shows `--receipt-keys` alone".to_owned(),
            0 => "everything in it holds".to_owned(),
            some => format!("{} in it {} not hold", super::check::count(some, "thing"), if some == 1 { "does" } else { "do" }),
        };
        format!("{lines}\n\n{end}")
    })?;
    Ok(if faults == 0 { Exit::Done } else { Exit::CheckFailed })
}

/// A pack may say anything.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

pub(super) fn tiles(output: &Output, args: &TilesArgs) -> Result<Exit, Failure> {
    let tiles = Tiles::new(&args.dir);
    let failed = |error: &AuditError| unreadable(&args.dir, error);
    let progress = output.spinner("reading");
    let note = tiles.checkpoint().map_err(|error| failed(&error))?;
    let size: u64 = note.lines().nth(1).and_then(|line| line.parse().ok()).unwrap_or_default();
    let (mut level, mut hashes, mut files, mut pruned) = (0, size, 0u64, 0u64);
    while hashes > 0 {
        for number in 0..hashes.div_ceil(256) {
            let width = (hashes - number * 256).min(256);
            progress.set_message(format!("tile {number} of level {level}"));
            let entries = (level == 0).then_some(None);
            for level in [Some(Some(level)), entries].into_iter().flatten() {
                let name = TileName { level, number, width };
                let find = || tiles.read(&name).map_err(|error| failed(&error));
                match put(&args.out.join("tile").join(name.to_string()), width, find)? {
                    Put::Written => files += 1,
                    Put::Kept => {}
                    // The hashes of its entries were found just before.
                    Put::Missing if name.level.is_none() => pruned += 1,
                    Put::Missing => {
                        return Err(Failure::new(Exit::CheckFailed, "the log became shorter while it was read; run `consentry audit verify`"));
                    }
                }
            }
        }
        (level, hashes) = (level + 1, hashes / 256);
    }
    // Last, so that it never promises what is not there.
    write(&args.out.join("checkpoint"), note.as_bytes())?;
    progress.finish_and_clear();
    let document = json!({ "size": size, "files": files, "pruned": pruned, "out": args.out });
    output.answer(&document, || {
        let left_out = if pruned > 0 { format!(" · {pruned} bundles left out, since entries of them are pruned") } else { String::new() };
        let out = args.out.display();
        format!("{size} entries · {files} new files{left_out} · {out}\n\nhand over the log's verifier key (`log.vkey`) in another way")
    })
}

/// Writes a tile; one that is full never changes, so that one that is there stays.
fn put(path: &Path, width: u64, find: impl FnOnce() -> Result<Option<Vec<u8>>, Failure>) -> Result<Put, Failure> {
    if width == 256 && path.exists() {
        return Ok(Put::Kept);
    }
    match find()? {
        Some(bytes) => write(path, &bytes).map(|()| Put::Written),
        None => Ok(Put::Missing),
    }
}

/// What became of a tile.
enum Put {
    Written,
    Kept,
    Missing,
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Internal, format!("cannot write `{}`: {error}", path.display()));
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
    // As a whole: a tile that was cut short would pass for a full one the next time.
    let next = path.with_extension("new");
    fs::write(&next, bytes).and_then(|()| fs::rename(&next, path)).map_err(failed)
}

pub(super) fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| Failure::new(Exit::NotFound, format!("cannot read `{}`: {error}", file.display())))
}
