module retic.dev/retic-cni

go 1.24
