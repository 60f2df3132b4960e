// Package checks holds what brood's control socket says against other people's
// readers of it: the API's description against an OpenAPI validator, real answers
// against the description, the metrics against Prometheus' own parser.
//
// It is a module of its own, as these bring much along that brood has no use for.
package checks
