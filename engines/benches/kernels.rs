//! What the largest of GPT-2's linear layers costs in each dtype, for as many rows as a step has sequences; `GB/s` counts its weights once.
//!
//! `cargo bench --workspace --profile dev --bench kernels`: the profile that all else is built in.

use divan::Bencher;
use divan::counter::BytesCount;
use minivault_engines::gpt2::Dtype;
use minivault_engines::gpt2::measured::Layer;

/// Of DistilGPT2's feed-forward layers. In f32 its 9 MB stay in no cache that a core has for itself.
const INPUTS: usize = 768;
const OUTPUTS: usize = 3072;

const ROWS: [usize; 4] = [1, 8, 16, 512];

fn main() {
    divan::main();
}

fn forward(bencher: Bencher<'_, '_>, rows: usize, dtype: Dtype, bytes: usize) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut layer = Layer::new(INPUTS, OUTPUTS, rows, dtype, threads).expect("there is memory for one layer");
    bencher.counter(BytesCount::new(bytes)).bench_local(move || layer.forward());
}

#[divan::bench(args = ROWS)]
fn f32(bencher: Bencher<'_, '_>, rows: usize) {
    forward(bencher, rows, Dtype::F32, 4 * INPUTS * OUTPUTS);
}

#[divan::bench(args = ROWS)]
fn bf16(bencher: Bencher<'_, '_>, rows: usize) {
    forward(bencher, rows, Dtype::Bf16, 2 * INPUTS * OUTPUTS);
}

#[divan::bench(args = ROWS)]
fn q8(bencher: Bencher<'_, '_>, rows: usize) {
    // Each 32 bytes have a scale of two.
    forward(bencher, rows, Dtype::Q8, INPUTS * OUTPUTS * 34 / 32);
}
