// Package daemon is cloned as a library: the configuration, the choice and
// wiring of drivers, the gRPC services over the control plane, who may use
// them, metrics, and the life of the process from start to clean shutdown.
//
// What clones and goldens are, and every decision about them, is in package
// control; what is here turns requests into its calls and its answers into
// messages. Nothing here touches a volume or an instance by itself.
package daemon
