package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const defaultWait = 30 * time.Second

// config is the plugin's entry in the conflist, with what the runtime adds to it.
type config struct {
	Version    string          `json:"cniVersion"`
	Name       string          `json:"name"`
	Socket     string          `json:"socket"`
	Exclude    []string        `json:"exclude"`
	Seconds    float64         `json:"seconds"`
	PrevResult json.RawMessage `json:"prevResult"`
}

func readConfig(text []byte) (config, error) {
	var given config
	if len(text) > longestInput {
		return given, fail(codeDecode, "the configuration is too long", fmt.Sprintf("over %d bytes", longestInput))
	}
	if err := json.Unmarshal(text, &given); err != nil {
		given.Version = supported[len(supported)-1]
		return given, fail(codeDecode, "the configuration is not as it should be", err)
	}
	if given.Version == "" {
		given.Version = "0.1.0" // what no version means, by the specification
	}
	if !slices.Contains(supported, given.Version) {
		return given, fail(codeVersion, "incompatible CNI version",
			fmt.Sprintf("cniVersion %q of network %q: write one of %s", given.Version, given.Name, strings.Join(supported, ", ")))
	}
	if !strings.HasPrefix(given.Socket, "/") {
		return given, fail(codeConfig, "the configuration names no agent",
			fmt.Sprintf("socket is %q: write the absolute path of the agent's socket", given.Socket))
	}
	return given, nil
}

func (c config) wait() time.Duration {
	if c.Seconds <= 0 {
		return defaultWait
	}
	return time.Duration(c.Seconds * float64(time.Second))
}

// result is the previous plugin's, as it came; only a version that it lacks is added.
func (c config) result() ([]byte, error) {
	if len(c.PrevResult) == 0 || string(c.PrevResult) == "null" {
		return nil, fail(codeConfig, "no plugin before this one", "prevResult is missing: put retic-cni behind the plugin that makes the network")
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(c.PrevResult, &parts); err != nil {
		return nil, fail(codeDecode, "prevResult is not an object", err)
	}
	if _, there := parts["cniVersion"]; there {
		return c.PrevResult, nil
	}
	parts["cniVersion"], _ = json.Marshal(c.Version)
	return json.Marshal(parts)
}

// address is the pod's: the first IPv4 address of the previous result, or its first at all.
func (c config) address() (string, error) {
	var parts struct {
		IPs []struct {
			Address string `json:"address"`
		} `json:"ips"`
	}
	if err := json.Unmarshal(c.PrevResult, &parts); err != nil {
		return "", fail(codeDecode, "prevResult has no list of addresses", err)
	}
	first := ""
	for _, one := range parts.IPs {
		prefix, err := netip.ParsePrefix(one.Address)
		if err != nil {
			return "", fail(codeDecode, "prevResult has an address that is none", err)
		}
		if prefix.Addr().Is4() {
			return prefix.Addr().String(), nil
		}
		if first == "" {
			first = prefix.Addr().String()
		}
	}
	if first == "" {
		return "", fail(codeConfig, "the plugin before this one gave no address", "prevResult.ips is empty")
	}
	return first, nil
}
