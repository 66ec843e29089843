//! The bytes of one simulated file as sparse, shared 4 KiB pages.
//!
//! A file has two images: what a reader sees and what a crash leaves. They share the pages they
//! agree on, so making a write durable copies pointers, and a preallocated file costs no bytes.
//! Invariant: bytes at or beyond `len` within the last page are zero, and no page lies wholly
//! beyond what was allocated.

use std::rc::Rc;

pub(super) const PAGE_BYTES: usize = 4096;
const PAGE: u64 = PAGE_BYTES as u64;

type Page = [u8; PAGE_BYTES];

#[derive(Clone, Default)]
pub(super) enum Slot {
    /// Nothing allocated: writing here may fail for want of space.
    #[default]
    Hole,
    /// Allocated and all zeros.
    Zeros,
    Data(Rc<Page>),
}

#[derive(Clone, Default)]
pub(super) struct Image {
    slots: Vec<Slot>,
    len: u64,
    /// How many slots are not holes.
    allocated: usize,
}

impl Image {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn allocated_pages(&self) -> usize {
        self.allocated
    }

    /// Copies what is stored at `pos` into `out`, which must lie within `len`.
    pub(super) fn read(&self, pos: u64, out: &mut [u8]) {
        assert!(pos + out.len() as u64 <= self.len, "a read beyond the file");
        for_pages(pos, out.len(), |index, within, range| {
            let out = &mut out[range];
            match self.slots.get(index) {
                Some(Slot::Data(page)) => out.copy_from_slice(&page[within..within + out.len()]),
                _ => out.fill(0),
            }
        });
    }

    /// Pages that a write of this range would have to allocate first.
    pub(super) fn missing_pages(&self, pos: u64, len: u64) -> usize {
        if len == 0 {
            return 0;
        }
        (pos / PAGE..=(pos + len - 1) / PAGE)
            .filter(|&i| matches!(self.slots.get(i as usize), None | Some(Slot::Hole)))
            .count()
    }

    /// Stores the bytes, allocating and growing as needed.
    pub(super) fn write(&mut self, pos: u64, bytes: &[u8]) {
        self.grow(pos + bytes.len() as u64);
        for_pages(pos, bytes.len(), |index, within, range| {
            self.write_page(index, within, &bytes[range]);
        });
    }

    fn write_page(&mut self, index: usize, within: usize, bytes: &[u8]) {
        let slot = &mut self.slots[index];
        if matches!(slot, Slot::Hole) {
            *slot = Slot::Zeros;
            self.allocated += 1;
        }
        if bytes.len() == PAGE_BYTES {
            *slot = match is_zero(bytes) {
                true => Slot::Zeros,
                false => Slot::Data(Rc::new(bytes.try_into().expect("a whole page"))),
            };
            return;
        }
        if let Slot::Zeros = slot {
            if is_zero(bytes) {
                return;
            }
            *slot = Slot::Data(Rc::new([0; PAGE_BYTES]));
        }
        let Slot::Data(page) = slot else { unreachable!("the slot was made data above") };
        Rc::make_mut(page)[within..within + bytes.len()].copy_from_slice(bytes);
    }

    /// Takes the pages of a range from another image of the same file.
    pub(super) fn share(&mut self, from: &Image, pos: u64, len: u64) {
        if len == 0 {
            return;
        }
        self.grow(pos + len);
        for index in pos / PAGE..=(pos + len - 1) / PAGE {
            let index = index as usize;
            let new = from.slots.get(index).cloned().unwrap_or_default();
            let old = std::mem::replace(&mut self.slots[index], new);
            self.allocated -= usize::from(!matches!(old, Slot::Hole));
            self.allocated += usize::from(!matches!(self.slots[index], Slot::Hole));
        }
    }

    /// `fallocate(0)`: every page of the range is allocated and the length covers it.
    pub(super) fn allocate(&mut self, pos: u64, len: u64) {
        if len == 0 {
            return;
        }
        self.grow(pos + len);
        for slot in &mut self.slots[(pos / PAGE) as usize..=((pos + len - 1) / PAGE) as usize] {
            if let Slot::Hole = slot {
                *slot = Slot::Zeros;
                self.allocated += 1;
            }
        }
    }

    /// `ftruncate`: grows with a hole or cuts, zeroing the rest of the last page.
    pub(super) fn set_len(&mut self, len: u64) {
        if len >= self.len {
            self.grow(len);
            return;
        }
        let pages = len.div_ceil(PAGE) as usize;
        for slot in self.slots.drain(pages..) {
            self.allocated -= usize::from(!matches!(slot, Slot::Hole));
        }
        let within = (len % PAGE) as usize;
        if within > 0
            && let Some(Slot::Data(page)) = self.slots.last_mut()
        {
            Rc::make_mut(page)[within..].fill(0);
        }
        self.len = len;
    }

    fn grow(&mut self, len: u64) {
        if len > self.len {
            self.len = len;
            self.slots.resize_with(len.div_ceil(PAGE) as usize, Slot::default);
        }
    }

    /// Flips the bits of `mask` in the byte at `pos`, which must lie within `len`.
    pub(super) fn flip(&mut self, pos: u64, mask: u8) {
        let mut byte = [0];
        self.read(pos, &mut byte);
        self.write(pos, &[byte[0] ^ mask]);
    }
}

/// Calls `each(page, offset within the page, range of the buffer)` for each page of a range.
fn for_pages(pos: u64, len: usize, mut each: impl FnMut(usize, usize, std::ops::Range<usize>)) {
    let mut done = 0;
    while done < len {
        let at = pos + done as u64;
        let within = (at % PAGE) as usize;
        let n = (PAGE_BYTES - within).min(len - done);
        each((at / PAGE) as usize, within, done..done + n);
        done += n;
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<64>();
    chunks.iter().all(|c| c.iter().fold(0, |a, b| a | b) == 0) && rest.iter().all(|b| *b == 0)
}

#[cfg(test)]
mod tests {
    use super::{Image, PAGE_BYTES};
    use crate::sim::Prng;

    fn all(image: &Image) -> Vec<u8> {
        let mut out = vec![0xaa; image.len() as usize];
        image.read(0, &mut out);
        out
    }

    #[test]
    fn agrees_with_a_plain_vector() {
        let mut prng = Prng::new(3);
        let mut image = Image::default();
        let mut shared = Image::default();
        let mut model: Vec<u8> = Vec::new();
        for step in 0..2_000u32 {
            let pos = prng.index(5 * PAGE_BYTES);
            let len = 1 + prng.index(2 * PAGE_BYTES);
            match prng.below(8) {
                0 => {
                    image.set_len(pos as u64);
                    model.resize(pos, 0);
                }
                1 => {
                    image.allocate(pos as u64, len as u64);
                    model.resize(model.len().max(pos + len), 0);
                }
                kind => {
                    let fill = if kind == 2 { 0 } else { step as u8 };
                    image.write(pos as u64, &vec![fill; len]);
                    model.resize(model.len().max(pos + len), 0);
                    model[pos..pos + len].fill(fill);
                }
            }
            assert_eq!(image.len(), model.len() as u64);
            assert_eq!(all(&image), model, "step {step}");
            let total = image.len();
            assert_eq!(
                image.missing_pages(0, total) + image.allocated_pages(),
                model.len().div_ceil(PAGE_BYTES)
            );
            shared.set_len(total);
            shared.share(&image, 0, total);
            assert_eq!(all(&shared), model, "step {step}");
            assert_eq!(shared.allocated_pages(), image.allocated_pages());
        }
    }

    #[test]
    fn zeros_and_holes_cost_no_bytes_but_zeros_count_as_allocated() {
        let mut image = Image::default();
        image.set_len(1 << 30);
        assert_eq!(image.allocated_pages(), 0);
        image.allocate(0, 1 << 20);
        assert_eq!(image.allocated_pages(), 256);
        image.write(0, &[0; 8192]);
        assert_eq!(image.allocated_pages(), 256);
        image.flip(5, 0x10);
        assert_eq!(&all_prefix(&image, 7), &[0, 0, 0, 0, 0, 0x10, 0]);
    }

    fn all_prefix(image: &Image, len: usize) -> Vec<u8> {
        let mut out = vec![1; len];
        image.read(0, &mut out);
        out
    }
}
