//go:build packages

// Package packages names what is built here, so that go.mod requires it. It is never compiled.
package packages

import (
	_ "sigs.k8s.io/gateway-api/conformance"
	_ "sigs.k8s.io/gateway-api/conformance/echo-basic/grpcechoserver"
	_ "sigs.k8s.io/gateway-api/pkg/consts"
)
