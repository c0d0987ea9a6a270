"""A Ray cluster of two nodes on this machine, a core each and a GPU that is not there.

It says its address, and ends with its standard input. Each line read takes the second node away, and sets another in
its place.
"""

import sys

from ray.cluster_utils import Cluster

if __name__ == "__main__":
    node = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": 200 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    second = cluster.add_node(**node)
    print(cluster.address, flush=True)
    for _ in sys.stdin:
        cluster.remove_node(second, allow_graceful=False)
        second = cluster.add_node(**node)
        print("replaced", flush=True)
    cluster.shutdown()
