// Verifies a log with packages of the Go project (golang.org/x/mod/sumdb): the signed note, the tree rebuilt from the entries, every
// tile byte for byte, and proofs of entries. Nothing of it was written for consentry.
//
//	tlog VERIFIER-KEY TILES [PROOF…]
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// All hashes that Go's own numbering of a tree stores.
type hashes []tlog.Hash

func (all hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		found[i] = all[index]
	}
	return found, nil
}

func main() {
	key, err := os.ReadFile(os.Args[1])
	check(err)
	verifier, err := note.NewVerifier(strings.TrimSpace(string(key)))
	check(err)
	folder := os.Args[2]
	text, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	check(err)
	size, root := checkpoint(text, verifier)

	var all hashes
	for start := int64(0); start < size; start += 256 {
		tile := tlog.Tile{H: 8, L: 0, N: start / 256, W: int(min(256, size-start))}
		bundle := read(folder, "entries", tile)
		for n := start; n < start+int64(tile.W); n++ {
			length := int(binary.BigEndian.Uint16(bundle))
			stored, err := tlog.StoredHashes(n, bundle[2:2+length], all)
			check(err)
			all = append(all, stored...)
			bundle = bundle[2+length:]
		}
		if len(bundle) > 0 {
			fail("%d bytes stand after the entries of a bundle", len(bundle))
		}
	}
	rebuilt, err := tlog.TreeHash(size, all)
	check(err)
	if rebuilt != root {
		fail("the entries lead to the root %v, the checkpoint signs %v", rebuilt, root)
	}
	tiles := 0
	for _, tile := range tlog.NewTiles(8, 0, size) {
		// Of a tile that is not full there may be narrower ones, of earlier checkpoints.
		if int64(tile.W) < 256 && tile.N*256+int64(tile.W) != size>>(8*tile.L) {
			continue
		}
		tiles++
		expected, err := tlog.ReadTileData(tile, all)
		check(err)
		if !bytes.Equal(expected, read(folder, strconv.Itoa(tile.L), tile)) {
			fail("tile %v is another", tile)
		}
	}
	for _, file := range os.Args[3:] {
		proved(file, verifier)
	}
	fmt.Printf("%d entries, %d tiles, %d proofs\n", size, tiles, len(os.Args)-3)
}

// A C2SP checkpoint: the lines of its text, once its signature holds.
func checkpoint(text []byte, verifier note.Verifier) (int64, tlog.Hash) {
	opened, err := note.Open(text, note.VerifierList(verifier))
	check(err)
	lines := strings.Split(opened.Text, "\n")
	if lines[0] != verifier.Name() {
		fail("the origin is %q", lines[0])
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	root, err := tlog.ParseHash(lines[2])
	check(err)
	return size, root
}

// A C2SP tlog-proof whose extra line holds the entry.
func proved(file string, verifier note.Verifier) {
	text, err := os.ReadFile(file)
	check(err)
	head, signed, found := bytes.Cut(text, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !found || lines[0] != "c2sp.org/tlog-proof@v1" {
		fail("%s is no tlog-proof", file)
	}
	entry, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	check(err)
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	check(err)
	var proof tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		check(err)
		proof = append(proof, hash)
	}
	size, root := checkpoint(signed, verifier)
	check(tlog.CheckRecord(proof, size, root, index, tlog.RecordHash(entry)))
}

// A file of C2SP tlog-tiles; Go's own path begins with the height and names entries "data".
func read(folder, level string, tile tlog.Tile) []byte {
	parts := strings.SplitN(tile.Path(), "/", 4)
	data, err := os.ReadFile(filepath.Join(folder, "tile", level, parts[3]))
	check(err)
	return data
}

func min(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}

func check(err error) {
	if err != nil {
		fail("%v", err)
	}
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}
