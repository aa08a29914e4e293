"""`emsd demo`: a simulated factory measured by the real chain, and the truth beside it.

command   the command and its order of events
world     servers, simulator, history, on-call webhook: everything the service meets
child     the service as a process of its own, restarted when it dies
watch     what a person sees meanwhile, read through the API
verdict   measured against true, meter by meter
"""
