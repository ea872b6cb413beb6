import sys, time
from tests.durability import broken, worlds
from tests.durable_stories import STORIES, recorded
t=time.process_time()
story=sys.argv[1]; lives=eval(sys.argv[2]); effort=int(sys.argv[3])
r=recorded(story, lives)
n=len(r.steps); w=len({(x.key(),x.said) for x in worlds(r,effort)})
print("steps",n,"worlds",w, "parse cpu", time.process_time()-t, flush=True)
if len(sys.argv)>4: print("\n".join(f"{i} {s}" for i,s in enumerate(r.shown)))
t=time.process_time()
for i,b in enumerate(broken(r, STORIES[story].judge(), effort)):
    print(b[:400])
    if i>8: break
print("judge cpu", time.process_time()-t)
