//! Builds the test images if they are not there, and says where they are and what they weigh.

fn main() -> std::io::Result<()> {
    let begin = std::time::Instant::now();
    let home = harness::images::ready();
    let mut total = 0;
    for entry in std::fs::read_dir(home)?.flatten() {
        total += entry.metadata()?.len();
    }
    println!("test images: {} ({} MB of archives, {:.0?})", home.display(), total / 1_000_000, begin.elapsed());
    Ok(())
}
