// Package deploycheck has no code of its own: its tests check what deploy/ holds
// against what the receiver and the agent really do. It is a module apart, so that
// the types of Kubernetes, Compose and Prometheus stay out of the product.
package deploycheck
