// Package codec measures wire's column codec, and general compressors beside
// it, on recorded columns: bits per sample and samples per second.
//
// The entry point is [Run]. Sizes are counted as the recordings' README says: a
// cut is N samples of every channel that has so many left, each cut is coded by
// itself, padded once to a byte; envelope, block head and ticks are not column
// payload, the figure for whole batches holds them. Speeds are per CPU second of
// the measuring thread, so that a busy machine changes them little.
package codec
