// Package atrest wraps the secrets of an encrypted spool with age: for the box that
// writes it, and for the people who may read its card.
//
// The entry points are [Load], which reads what a configuration names, and [Generate],
// which makes the identity of a box. It keeps no secret in a file but the identity.
package atrest
