import sys, time
from tests import mutation
for m in mutation.mutants():
    if "update" in m.name or "agent/files" in m.name:
        t=time.process_time()
        print(m.name, "\n   ", (mutation.verdict(m, 2) or "LIVES")[:300], round(time.process_time()-t,1), flush=True)
