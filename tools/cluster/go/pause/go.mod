// The process that holds a pod's namespaces.
module retic.dev/tools/cluster/pause

go 1.24
