import{a,b}from"./chunk-4274LYF3.js";import"./chunk-K7N3PRKU.js";import"./chunk-KE47JQLL.js";import"./chunk-VKW4UOH3.js";import"./chunk-DCANE7XH.js";export{a as fetchPresets,b as fillPresetMenu};
