package audit

import (
	"crypto/sha256"

	"golang.org/x/mod/sumdb/tlog"
)

// frontier is the right edge of a Merkle tree: the complete subtrees that no
// larger one holds yet, largest first. It grows by one leaf at a time in O(1)
// amortised, and needs O(log n) memory.
type frontier struct {
	size  uint64
	trees []tlog.Hash
}

// push adds a leaf and appends to stored the hashes that a log stores for it:
// the leaf's and those of the subtrees that it completes, in the order of
// tlog.StoredHashes.
func (f *frontier) push(leaf tlog.Hash, stored []tlog.Hash) []tlog.Hash {
	stored = append(stored, leaf)
	f.trees = append(f.trees, leaf)
	for n := f.size; n&1 == 1; n >>= 1 {
		last := len(f.trees) - 1
		parent := tlog.NodeHash(f.trees[last-1], f.trees[last])
		f.trees = append(f.trees[:last-1], parent)
		stored = append(stored, parent)
	}
	f.size++
	return stored
}

// root returns the tree's hash.
func (f *frontier) root() tlog.Hash {
	last := len(f.trees) - 1
	if last < 0 {
		return sha256.Sum256(nil)
	}
	h := f.trees[last]
	for i := last - 1; i >= 0; i-- {
		h = tlog.NodeHash(f.trees[i], h)
	}
	return h
}
