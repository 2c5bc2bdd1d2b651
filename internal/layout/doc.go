// Package layout has no code of its own: its tests keep the rules of the tree.
// Sizes of files and functions, one doc comment per package, who may import
// whom, and what may be linked into which binary.
package layout
